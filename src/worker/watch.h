/*-------------------------------------------------------------------------
 *
 * watch.h
 *		The worker's answers to sessions that wait.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_WATCH_H
#define MIXPEEK_WATCH_H

#include "base/ticket.h"
#include "worker/worker.h"

/* In the current memory context. */
extern Watch *watch_create(Tickets *tickets);

/*
 * Looks at what sessions wait for, where something has changed or it was not looked for some
 * time, and answers; never for long.  Returns seconds until it wants to look again, or -1.
 * Outside a transaction.
 */
extern double watch_turn(Worker *worker);

/* It raised an error: those who wait are looked at later.  Returns in how many seconds. */
extern double watch_put_off(Worker *worker);

/* Nobody waits (any more). */
extern bool watch_is_over(const Watch *watch);

#endif							/* MIXPEEK_WATCH_H */
