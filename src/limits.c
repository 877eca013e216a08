/*-------------------------------------------------------------------------
 *
 * limits.c
 *		How much a server may be asked, and whether it may be asked at all.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <limits.h>
#include <math.h>
#include <time.h>

#include "limits.h"

/*
 * Keys that wait for their turn at the most.  More would not be sent sooner, and what
 * is known of them would not be in the processor's caches any more when it is needed.
 * With a quarter of them left it is time to claim the next ones: each claim is flushed.
 */
#define MAX_AHEAD			320
#define FEW_AHEAD(ahead)	((ahead) / 4)

/* Requests a second: headers that say less, or more, are not believed. */
#define MIN_RATE			(1 / 60.0)
#define MAX_RATE			1e6

/* Seconds until it is asked again when a request may start, at the most. */
#define MAX_DELAY			3600.0

/* Seconds until the next request after a 429, whatever its headers say, at the least. */
#define MIN_BLOCK			0.05

/* Failures in a row that look like an outage, before the breaker opens. */
#define MAX_FAILURES		5
#define MIN_DOWN_DELAY		1.0
#define MAX_DOWN_DELAY		60.0

/* Requests at once before the first one has ended. */
#define FIRST_REQUESTS		4

/* Without Retry-After or X-RateLimit-Reset, a 429 stops requests this long. */
#define DEFAULT_BLOCK		1.0

double
limits_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void
set_rate(Limits *limits, double rate)
{
	limits->rate = rate;
	limits->burst = Max(1.0, rate);
	limits->tokens = Min(limits->tokens, limits->burst);
}

void
limits_init(Limits *limits, const MixpeekServer *server)
{
	memset(limits, 0, sizeof(Limits));
	limits->max_running = server->max_connections;
	limits->window = server->max_connections;
	limits->tokens = 1.0;
	limits->filled_at = limits_now();
	if (server->requests_per_minute > 0)
	{
		limits->rate_is_set = true;
		set_rate(limits, server->requests_per_minute / 60.0);
		limits->tokens = limits->burst;
	}
}

void
limits_reload(Limits *limits, const MixpeekServer *server, bool same_limits)
{
	Limits		old = *limits;

	if (!same_limits)
		limits_init(limits, server);
	limits->running = old.running;
	limits->started = old.started;
	limits->down = old.down;
	limits->down_until = 0;
	limits->down_delay = 0;
}

static void
fill(Limits *limits, double now)
{
	limits->tokens = Min(limits->burst, limits->tokens + (now - limits->filled_at) * limits->rate);
	limits->filled_at = now;
}

/*
 * Tokens left unused where there are many: requests do not arrive as evenly as
 * they are sent, and one that comes too early costs more than they do.
 */
static double
reserve(const Limits *limits)
{
	return Min(2.0, (limits->burst - 1.0) / 4);
}

/* The first answers tell what more than a few requests at once may exceed. */
int
limits_at_once(const Limits *limits)
{
	if (limits->down)
		return 1;
	return Min((int) limits->window, limits->ended ? INT_MAX : FIRST_REQUESTS);
}

static int
may_start(const Limits *limits)
{
	int			at_once = limits_at_once(limits);

	return limits->ended && !limits->down && limits->failures == 0 && limits->rate == 0 ? at_once * 2 : at_once;
}

double
limits_delay(Limits *limits, double now)
{
	double		delay = 0;

	if (limits->running >= may_start(limits))
		return -1;
	if (limits->down)
		delay = limits->down_until - now;
	delay = Max(delay, limits->blocked_until - now);
	if (limits->rate > 0)
	{
		fill(limits, now);
		if (limits->tokens < 1.0 + reserve(limits))
			delay = Max(delay, (1.0 + reserve(limits) - limits->tokens) / limits->rate);
	}
	return Min(Max(delay, 0), MAX_DELAY);
}

/*
 * Beside the requests that run, what can be sent within the next second, so that a
 * claimed key does not wait for long in the state "sending".
 */
static int
keys_ahead(Limits *limits, double now)
{
	if (limits->rate == 0)
		return MAX_AHEAD;
	fill(limits, now);
	return (int) Min(limits->tokens + limits->rate, MAX_AHEAD);
}

int
limits_room(Limits *limits, double now, int claimed)
{
	if (limits->down)
		return limits->down_until <= now && claimed == 0 ? 1 : 0;
	if (limits->blocked_until > now)
		return 0;
	return Max(0, limits->running + keys_ahead(limits, now) - claimed);
}

bool
limits_is_fed(Limits *limits, double now, int claimed)
{
	return claimed - limits->running > FEW_AHEAD(keys_ahead(limits, now));
}

LimitsMark
limits_started(Limits *limits)
{
	LimitsMark	mark = {++limits->started, limits->running++};

	if (limits->rate > 0)
		limits->tokens -= 1.0;
	return mark;
}

void
limits_not_begun(Limits *limits)
{
	limits->running--;
}

bool
limits_is_ours(const HttpAnswer *answer)
{
	return answer->end == HTTP_NO_SOCKET || answer->end == HTTP_NO_ROOM;
}

bool
limits_is_outage(const HttpAnswer *answer, Verdict verdict)
{
	if (limits_is_ours(answer))
		return false;
	if (verdict == VERDICT_UNREACHED || verdict == VERDICT_UNAUTHORIZED ||
		verdict == VERDICT_SLOW_DOWN)
		return true;
	return verdict == VERDICT_UNSURE &&
		(answer->end == HTTP_TIMED_OUT || answer->end == HTTP_BROKEN ||
		 answer->status == 502 || answer->status == 503 || answer->status == 504);
}

/*
 * The server's bucket as an answer shows it, when it let that request in: since
 * then it has got fuller with time.  Each request that began later, or was under way
 * when this one began, may have taken its token before that or since: the server need not
 * take them in our order, nor do we see them end in its order.  So what is known is
 * between two bounds; within them our own count is as good as any.
 */
static void
correct_tokens(Limits *limits, LimitsMark mark, const HttpAnswer *answer)
{
	double		later = limits->started - mark.number;
	double		least = answer->remaining - later - mark.running;
	double		most = answer->remaining + limits->rate * answer->seconds -
		Max(later - limits->running, 0);

	if (!limits->rate_is_set)	/* the option is the user's own bound */
	{
		limits->burst = Max(limits->burst, answer->remaining + 1.0);
		limits->tokens = Max(limits->tokens, least);
	}
	limits->tokens = Min(limits->tokens, most);
}

/* As if none had been learnt. */
static void
forget_rate(Limits *limits)
{
	limits->rate = limits->burst = 0;
	limits->tokens = 1.0;
}

/*
 * What the headers say of the rate, unless the server's option says it.  An answer without
 * such headers to a request that was let in says that there is none any more.
 */
static void
learn(Limits *limits, LimitsMark mark, double now, const HttpAnswer *answer, Verdict verdict)
{
	double		rate = answer->limit > 0 && answer->window > 0 ? answer->limit / answer->window : 0;

	if (!limits->rate_is_set && rate >= MIN_RATE && rate <= MAX_RATE && rate != limits->rate)
		set_rate(limits, rate);
	else if (!limits->rate_is_set && limits->rate > 0 && verdict == VERDICT_DONE &&
			 !(rate >= MIN_RATE && rate <= MAX_RATE))
		forget_rate(limits);
	if (limits->rate > 0 && answer->remaining >= 0)
	{
		fill(limits, now);
		correct_tokens(limits, mark, answer);
	}
}

static void
slow_down(Limits *limits, double now, const HttpAnswer *answer, Verdict verdict)
{
	if (now - limits->shrunk_at > answer->seconds)
	{
		limits->window = Max(1.0, limits->window / 2);
		limits->shrunk_at = now;
	}
	if (answer->retry_after >= 0)
		limits->blocked_until = now + Max(MIN_BLOCK, answer->retry_after);
	else if (verdict == VERDICT_SLOW_DOWN)
		limits->blocked_until = now + (answer->reset > 0 ? answer->reset : DEFAULT_BLOCK);
}

/*
 * Of the requests that were under way when the server went down, each fails by
 * itself: only those that began afterwards say that it is still so.
 */
static LimitsChange
count_failure(Limits *limits, double now, const HttpAnswer *answer, Verdict verdict)
{
	bool		was_down = limits->down;

	if (was_down && now - answer->seconds < limits->failed_at)
		return LIMITS_SAME;
	limits->failures = Min(limits->failures + 1, MAX_FAILURES);
	limits->failed_at = now;
	if (!was_down && verdict == VERDICT_UNSURE && limits->failures < MAX_FAILURES)
		return LIMITS_SAME;
	limits->down_delay = was_down ? Min(MAX_DOWN_DELAY, limits->down_delay * 2) : 0;
	limits->down_delay = Max(MIN_DOWN_DELAY, limits->down_delay);
	limits->down_until = now + limits->down_delay * (0.5 + 0.5 * COMPAT_RANDOM());
	limits->down = true;
	return was_down ? LIMITS_SAME : LIMITS_WENT_DOWN;
}

LimitsChange
limits_ended(Limits *limits, LimitsMark mark, double now,
			 const HttpAnswer *answer, Verdict verdict)
{
	bool		was_down = limits->down;

	limits->running--;
	if (limits_is_ours(answer))
		return LIMITS_SAME;
	limits->ended = true;
	learn(limits, mark, now, answer, verdict);
	if (verdict == VERDICT_SLOW_DOWN || answer->status == 503)
		slow_down(limits, now, answer, verdict);
	if (limits_is_outage(answer, verdict) && verdict != VERDICT_SLOW_DOWN)
		return count_failure(limits, now, answer, verdict);

	limits->failures = 0;
	limits->down = false;
	if (verdict == VERDICT_DONE)
		limits->window = Min(limits->max_running, limits->window + 1.0 / limits->window);
	return was_down ? LIMITS_CAME_BACK : LIMITS_SAME;
}
