/*-------------------------------------------------------------------------
 *
 * watch.h
 *		The worker's answers to sessions that wait in mixpeek.sync() or wait().
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_WATCH_H
#define MIXPEEK_WATCH_H

#include "base/ticket.h"
#include "worker/worker.h"

/* Return a new watch over the tickets, in the current memory context. */
extern Watch *watch_create(Tickets *tickets);

/*
 * Check whether what sessions wait for is done, if something has changed or the last
 * check was some time ago, and answer them.  Takes some milliseconds at most.  Return
 * the seconds until the next check, or -1 if no session waits.  Must be called outside
 * of a transaction.
 */
extern double watch_turn(Worker *worker);

/* Clean up after an error in watch_turn().  Return the seconds until the next check. */
extern double watch_put_off(Worker *worker);

/* Have the tickets been read, and does no session wait any more? */
extern bool watch_is_over(const Watch *watch);

#endif							/* MIXPEEK_WATCH_H */
