/*-------------------------------------------------------------------------
 *
 * clock.h
 *		The time by which keys wait: it goes on evenly while the wall clock is set.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_CLOCK_H
#define MIXPEEK_CLOCK_H

#include "datatype/timestamp.h"

/*
 * The time to compare mixpeek.documents.next_attempt_at with, and to make it from.
 * It is not for what people read as the time of something.
 */
extern TimestampTz clock_now(void);

/* The same in so many milliseconds. */
extern TimestampTz clock_in(int64 milliseconds);

/* When this process began to use it. */
extern TimestampTz clock_started(void);

/*
 * Sets the clock going, by the one of the process before this one if that is known
 * (see crash.h).  *offset is what to add to clock_elapsed().
 */
extern void clock_start(bool known, int64 offset);

/* False: times that were stored before clock_started() may be by another clock. */
extern bool clock_is_continued(void);

/*
 * Return seconds by a clock that never jumps, for measuring how long something takes and for
 * waits that end with this process.  Only differences of two values mean something.
 */
extern double clock_seconds(void);

/* Microseconds since the machine was started. */
extern int64 clock_elapsed(void);

/* Shorten a wait (seconds; -1: forever) to delay, unless that is negative: no reason to wake up. */
static inline void
clock_wait_at_most(double *wait, double delay)
{
	if (delay >= 0 && (*wait < 0 || delay < *wait))
		*wait = delay;
}

#endif							/* MIXPEEK_CLOCK_H */
