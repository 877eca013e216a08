/*-------------------------------------------------------------------------
 *
 * settle.h
 *		Outcomes into mixpeek.documents.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_SETTLE_H
#define MIXPEEK_SETTLE_H

#include "worker/forward.h"

/* Check whether it is time to settle the jobs that have ended. */
extern bool settle_is_time(const Worker *worker, double now);

/* Return the seconds until it is, or -1 if no job has ended. */
extern double settle_delay(const Worker *worker, double now);

/*
 * Store the outcomes of the jobs that have ended, in a transaction of its own, and free
 * them.  Jobs whose table another session holds a lock on stay.
 */
extern void settle_ended(Worker *worker);

#endif							/* MIXPEEK_SETTLE_H */
