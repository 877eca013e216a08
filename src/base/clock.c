/*-------------------------------------------------------------------------
 *
 * clock.c
 *		The time by which keys wait: it goes on evenly while the wall clock is set.
 *
 * A wall clock that is set back makes all keys wait until it has caught up, and one
 * that is set ahead ends the rest after a request that may still be at work on the
 * other side, which doubles a document.  So the wall clock is asked once, and from
 * there on counted what passes.  Its drift is followed, by so little at a time that no
 * rest becomes noticeably shorter.
 *
 * The next worker goes on with the same clock (crash.c keeps it), until the machine is
 * started again or another one takes over: then nobody knows how the two clocks
 * compare, and what that may have cut short or drawn out is made good once, see
 * due_recover_abandoned() and due_bound_waits().
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <time.h>

#include "base/clock.h"
#include "base/crash.h"
#include "utils/timestamp.h"

/* The drift is followed once a second, and by at most this part of the time that has passed. */
#define STEP		USECS_PER_SEC
#define MAX_HURRY	1000
#define MAX_DELAY	10

/* The offset is kept for the next process when it has changed by so much. */
#define KEEP_STEP	(USECS_PER_SEC / 20)

/* A wall clock that is so far off was set, and does not drift. */
#define SET_BY		(5 * USECS_PER_SEC)

static bool running = false;
static bool continued = false;
static int64 offset;			/* from clock_elapsed() to the time */
static int64 kept_offset;
static int64 followed_at;
static bool set_reported = false;
static TimestampTz started = 0;

int64
clock_elapsed(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return t.tv_sec * USECS_PER_SEC + t.tv_nsec / 1000;
}

double
clock_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void
report_set(int64 drift)
{
	bool		set = drift > SET_BY || drift < -SET_BY;

	if (set && !set_reported)
		ereport(LOG,
				(errmsg("mixpeek_docs: the clock was set %s by %lld seconds: what waits is not affected",
						drift > 0 ? "forward" : "back", (long long) (drift > 0 ? drift : -drift) / USECS_PER_SEC)));
	set_reported = set;
}

static void
follow(int64 elapsed, int64 passed)
{
	int64		drift = GetCurrentTimestamp() - elapsed - offset;

	report_set(drift);
	offset += Max(Min(drift, passed / MAX_HURRY), -passed / MAX_DELAY);
	if (offset - kept_offset > KEEP_STEP || kept_offset - offset > KEEP_STEP)
	{
		kept_offset = offset;
		crash_keep_clock(offset);
	}
}

void
clock_start(bool known, int64 known_offset)
{
	running = true;
	continued = known;
	followed_at = clock_elapsed();
	offset = known ? known_offset : GetCurrentTimestamp() - followed_at;
	kept_offset = offset;
	started = followed_at + offset;
}

TimestampTz
clock_now(void)
{
	int64		elapsed = clock_elapsed();

	if (!running)
		clock_start(false, 0);
	if (elapsed - followed_at >= STEP)
	{
		follow(elapsed, elapsed - followed_at);
		followed_at = elapsed;
	}
	return elapsed + offset;
}

TimestampTz
clock_in(int64 milliseconds)
{
	return clock_now() + milliseconds * 1000;
}

TimestampTz
clock_started(void)
{
	if (!running)
		clock_start(false, 0);
	return started;
}

bool
clock_is_continued(void)
{
	return continued;
}
