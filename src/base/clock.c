/*-------------------------------------------------------------------------
 *
 * clock.c
 *		A clock for the times of next attempts, which does not jump when the system clock is set.
 *
 * If the system clock is set back, all keys would wait until it has caught up.  If
 * it is set forward, the delay after a request that the API may still be processing
 * would end too early, and a document could be created twice.  Therefore the system clock
 * is read once, and from then on elapsed time is added.  The drift between the two
 * is corrected in steps so small that no delay becomes noticeably shorter.
 *
 * The next worker continues the same clock, whose offset crash.c keeps, until the
 * machine is booted or another one takes over.  Then the relation between the two
 * clocks is unknown, and delays that may be wrong are corrected once, see
 * due_recover_abandoned() and due_bound_waits().
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <time.h>

#include "base/clock.h"
#include "base/crash.h"
#include "utils/timestamp.h"

/* The drift is corrected once a second, by at most this fraction of the elapsed time: forward, and back. */
#define STEP				USECS_PER_SEC
#define MAX_FORWARD_PART	1000
#define MAX_BACK_PART		10

/* The offset is stored for the next worker when it has changed by so much. */
#define KEEP_STEP	(USECS_PER_SEC / 20)

/* A difference this large does not come from drift: the system clock was set. */
#define SET_BY		(5 * USECS_PER_SEC)

static bool running = false;
static bool continued = false;
static int64 offset;			/* to be added to clock_elapsed() */
static int64 kept_offset;		/* as stored for the next worker */
static int64 corrected_at;		/* clock_elapsed() at the last correction */
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
				(errmsg("mixpeek_docs: the clock was set %s by %lld seconds: delays are not affected",
						drift > 0 ? "forward" : "back", (long long) (drift > 0 ? drift : -drift) / USECS_PER_SEC)));
	set_reported = set;
}

/* Correct the drift; "passed" microseconds have elapsed since the last correction. */
static void
correct_drift(int64 elapsed, int64 passed)
{
	int64		drift = GetCurrentTimestamp() - elapsed - offset;

	report_set(drift);
	offset += Max(Min(drift, passed / MAX_FORWARD_PART), -passed / MAX_BACK_PART);
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
	corrected_at = clock_elapsed();
	offset = known ? known_offset : GetCurrentTimestamp() - corrected_at;
	kept_offset = offset;
	started = corrected_at + offset;
}

TimestampTz
clock_now(void)
{
	int64		elapsed = clock_elapsed();

	if (!running)
		clock_start(false, 0);
	if (elapsed - corrected_at >= STEP)
	{
		correct_drift(elapsed, elapsed - corrected_at);
		corrected_at = elapsed;
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
