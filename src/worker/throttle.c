/*-------------------------------------------------------------------------
 *
 * throttle.c
 *		How much a server may be asked, and whether it may be asked at all.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <limits.h>
#include <math.h>

#include "base/clock.h"
#include "worker/throttle.h"

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

static void
set_rate(Throttle *throttle, double rate)
{
	throttle->rate = rate;
	throttle->burst = Max(1.0, rate);
	throttle->tokens = Min(throttle->tokens, throttle->burst);
}

void
throttle_init(Throttle *throttle, const MixpeekServer *server)
{
	memset(throttle, 0, sizeof(Throttle));
	throttle->max_running = server->max_connections;
	throttle->window = server->max_connections;
	throttle->tokens = 1.0;
	throttle->filled_at = clock_seconds();
	if (server->requests_per_minute > 0)
	{
		throttle->rate_is_set = true;
		set_rate(throttle, server->requests_per_minute / 60.0);
		throttle->tokens = throttle->burst;
	}
}

void
throttle_reload(Throttle *throttle, const MixpeekServer *server, bool same_limits)
{
	Throttle	old = *throttle;

	if (!same_limits)
		throttle_init(throttle, server);
	throttle->running = old.running;
	throttle->started = old.started;
	throttle->down = old.down;
	throttle->down_until = 0;
	throttle->down_delay = 0;
}

static void
fill(Throttle *throttle, double now)
{
	throttle->tokens = Min(throttle->burst, throttle->tokens + (now - throttle->filled_at) * throttle->rate);
	throttle->filled_at = now;
}

/*
 * Tokens left unused where there are many: requests do not arrive as evenly as
 * they are sent, and one that comes too early costs more than they do.
 */
static double
reserve(const Throttle *throttle)
{
	return Min(2.0, (throttle->burst - 1.0) / 4);
}

/* The first answers tell what more than a few requests at once may exceed. */
int
throttle_at_once(const Throttle *throttle)
{
	if (throttle->down)
		return 1;
	return Min((int) throttle->window, throttle->ended ? INT_MAX : FIRST_REQUESTS);
}

static int
may_start(const Throttle *throttle)
{
	int			at_once = throttle_at_once(throttle);

	return throttle->ended && !throttle->down && throttle->failures == 0 && throttle->rate == 0 ? at_once * 2 : at_once;
}

double
throttle_delay(Throttle *throttle, double now)
{
	double		delay = 0;

	if (throttle->running >= may_start(throttle))
		return -1;
	if (throttle->down)
		delay = throttle->down_until - now;
	delay = Max(delay, throttle->blocked_until - now);
	if (throttle->rate > 0)
	{
		fill(throttle, now);
		if (throttle->tokens < 1.0 + reserve(throttle))
			delay = Max(delay, (1.0 + reserve(throttle) - throttle->tokens) / throttle->rate);
	}
	return Min(Max(delay, 0), MAX_DELAY);
}

/*
 * Beside the requests that run, what can be sent within the next second, so that a
 * claimed key does not wait for long in the state "sending".
 */
static int
keys_ahead(Throttle *throttle, double now)
{
	if (throttle->rate == 0)
		return MAX_AHEAD;
	fill(throttle, now);
	return (int) Min(throttle->tokens + throttle->rate, MAX_AHEAD);
}

int
throttle_room(Throttle *throttle, double now, int claimed)
{
	if (throttle->down)
		return throttle->down_until <= now && claimed == 0 ? 1 : 0;
	if (throttle->blocked_until > now)
		return 0;
	return Max(0, throttle->running + keys_ahead(throttle, now) - claimed);
}

bool
throttle_is_fed(Throttle *throttle, double now, int claimed)
{
	return claimed - throttle->running > FEW_AHEAD(keys_ahead(throttle, now));
}

ThrottleMark
throttle_started(Throttle *throttle)
{
	ThrottleMark mark = {++throttle->started, throttle->running++};

	if (throttle->rate > 0)
		throttle->tokens -= 1.0;
	return mark;
}

void
throttle_not_begun(Throttle *throttle)
{
	throttle->running--;
}

bool
throttle_is_ours(const HttpAnswer *answer)
{
	return status_has(answer, STATUS_OURS);
}

bool
throttle_is_outage(const HttpAnswer *answer, Verdict verdict)
{
	return status_has(answer, STATUS_OUTAGE);
}

/*
 * The server's bucket as an answer shows it, when it let that request in: since
 * then it has got fuller with time.  Each request that began later, or was under way
 * when this one began, may have taken its token before that or since: the server need not
 * take them in our order, nor do we see them end in its order.  So what is known is
 * between two bounds; within them our own count is as good as any.
 */
static void
correct_tokens(Throttle *throttle, ThrottleMark mark, const HttpAnswer *answer)
{
	double		later = throttle->started - mark.number;
	double		least = answer->remaining - later - mark.running;
	double		most = answer->remaining + throttle->rate * answer->seconds -
		Max(later - throttle->running, 0);

	if (!throttle->rate_is_set) /* the option is the user's own bound */
	{
		throttle->burst = Max(throttle->burst, answer->remaining + 1.0);
		throttle->tokens = Max(throttle->tokens, least);
	}
	throttle->tokens = Min(throttle->tokens, most);
}

/* As if none had been learnt. */
static void
forget_rate(Throttle *throttle)
{
	throttle->rate = throttle->burst = 0;
	throttle->tokens = 1.0;
}

/*
 * What the headers say of the rate, unless the server's option says it.  An answer without
 * such headers to a request that was let in says that there is none any more.
 */
static void
learn(Throttle *throttle, ThrottleMark mark, double now, const HttpAnswer *answer, Verdict verdict)
{
	double		rate = answer->limit > 0 && answer->window > 0 ? answer->limit / answer->window : 0;

	if (!throttle->rate_is_set && rate >= MIN_RATE && rate <= MAX_RATE && rate != throttle->rate)
		set_rate(throttle, rate);
	else if (!throttle->rate_is_set && throttle->rate > 0 && verdict == VERDICT_DONE &&
			 !(rate >= MIN_RATE && rate <= MAX_RATE))
		forget_rate(throttle);
	if (throttle->rate > 0 && answer->remaining >= 0)
	{
		fill(throttle, now);
		correct_tokens(throttle, mark, answer);
	}
}

static void
slow_down(Throttle *throttle, double now, const HttpAnswer *answer, Verdict verdict)
{
	if (now - throttle->shrunk_at > answer->seconds)
	{
		throttle->window = Max(1.0, throttle->window / 2);
		throttle->shrunk_at = now;
	}
	if (answer->retry_after >= 0)
		throttle->blocked_until = now + Max(MIN_BLOCK, answer->retry_after);
	else if (verdict == VERDICT_SLOW_DOWN)
		throttle->blocked_until = now + (answer->reset > 0 ? answer->reset : DEFAULT_BLOCK);
}

/*
 * Of the requests that were under way when the server went down, each fails by
 * itself: only those that began afterwards say that it is still so.
 */
static ThrottleChange
count_failure(Throttle *throttle, double now, const HttpAnswer *answer, Verdict verdict)
{
	bool		was_down = throttle->down;

	if (was_down && now - answer->seconds < throttle->failed_at)
		return THROTTLE_SAME;
	throttle->failures = Min(throttle->failures + 1, MAX_FAILURES);
	throttle->failed_at = now;
	if (!was_down && verdict == VERDICT_UNSURE && throttle->failures < MAX_FAILURES)
		return THROTTLE_SAME;
	throttle->down_delay = was_down ? Min(MAX_DOWN_DELAY, throttle->down_delay * 2) : 0;
	throttle->down_delay = Max(MIN_DOWN_DELAY, throttle->down_delay);
	throttle->down_until = now + throttle->down_delay * (0.5 + 0.5 * COMPAT_RANDOM());
	throttle->down = true;
	return was_down ? THROTTLE_SAME : THROTTLE_WENT_DOWN;
}

ThrottleChange
throttle_ended(Throttle *throttle, ThrottleMark mark, double now,
			   const HttpAnswer *answer, Verdict verdict)
{
	bool		was_down = throttle->down;

	throttle->running--;
	if (throttle_is_ours(answer))
		return THROTTLE_SAME;
	throttle->ended = true;
	learn(throttle, mark, now, answer, verdict);
	if (status_has(answer, STATUS_OVERLOAD))
		slow_down(throttle, now, answer, verdict);
	if (throttle_is_outage(answer, verdict) && verdict != VERDICT_SLOW_DOWN)
		return count_failure(throttle, now, answer, verdict);

	throttle->failures = 0;
	throttle->down = false;
	if (verdict == VERDICT_DONE)
		throttle->window = Min(throttle->max_running, throttle->window + 1.0 / throttle->window);
	return was_down ? THROTTLE_CAME_BACK : THROTTLE_SAME;
}
