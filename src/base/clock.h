/*-------------------------------------------------------------------------
 *
 * clock.h
 *		A clock for the times of next attempts, which does not jump when the system clock is set.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_CLOCK_H
#define MIXPEEK_CLOCK_H

#include "datatype/timestamp.h"

/*
 * Return the time that mixpeek.documents.next_attempt_at is compared with and made from.  It must
 * not be used for times that are shown to users.
 */
extern TimestampTz clock_now(void);

/* Return the time in so many milliseconds from now. */
extern TimestampTz clock_in(int64 milliseconds);

/* Return the time when this process started the clock. */
extern TimestampTz clock_started(void);

/*
 * Start the clock.  If known is true, continue the previous worker's clock (see crash.h), which
 * differed from clock_elapsed() by offset microseconds.
 */
extern void clock_start(bool known, int64 offset);

/*
 * Check whether the clock continues that of the previous worker.  If not, stored times
 * may be of another clock.
 */
extern bool clock_is_continued(void);

/*
 * Return seconds of a monotonic clock, for durations and for waits within this process.  Only
 * differences of two values are meaningful.
 */
extern double clock_seconds(void);

/* Return microseconds since the machine was booted, including suspensions. */
extern int64 clock_elapsed(void);

/* Shorten a wait (seconds; -1: forever) to delay, unless that is negative: no reason to wake up. */
static inline void
clock_wait_at_most(double *wait, double delay)
{
	if (delay >= 0 && (*wait < 0 || delay < *wait))
		*wait = delay;
}

#endif							/* MIXPEEK_CLOCK_H */
