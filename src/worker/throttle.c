/*-------------------------------------------------------------------------
 *
 * throttle.c
 *		How many requests a server may be sent, and when.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <limits.h>
#include <math.h>

#include "base/clock.h"
#include "worker/throttle.h"

/*
 * Most claimed keys that wait to be sent.  More would not be sent sooner, and their
 * data would have left the processor's caches by then.  The next keys are claimed
 * when a quarter of them is left, not earlier, because each claim flushes the WAL.
 */
#define MAX_AHEAD			320
#define FEW_AHEAD(ahead)	((ahead) / 4)

/* Requests per second.  Rates outside of this range in an answer's headers are ignored. */
#define MIN_RATE			(1 / 60.0)
#define MAX_RATE			1e6

/* Most seconds that throttle_delay() returns. */
#define MAX_DELAY			3600.0

/* Fewest seconds from an answer with Retry-After to the next request. */
#define MIN_BLOCK			0.05

/* The breaker opens after so many failures in a row; it stays open for so many seconds. */
#define MAX_FAILURES		5
#define MIN_DOWN_DELAY		1.0
#define MAX_DOWN_DELAY		60.0

/* Most requests at once until the first one has ended. */
#define FIRST_REQUESTS		4

/* Seconds that a 429 without Retry-After and X-RateLimit-Reset stops requests. */
#define DEFAULT_BLOCK		1.0

static void
set_rate(Throttle *throttle, double rate)
{
	throttle->rate = rate;
	throttle->capacity = Max(1.0, rate);
	throttle->tokens = Min(throttle->tokens, throttle->capacity);
}

void
throttle_init(Throttle *throttle, const MixpeekServer *server)
{
	memset(throttle, 0, sizeof(Throttle));
	throttle->max_running = server->max_connections;
	throttle->concurrency = server->max_connections;
	throttle->tokens = 1.0;
	throttle->filled_at = clock_seconds();
	if (server->requests_per_minute > 0)
	{
		throttle->rate_is_set = true;
		set_rate(throttle, server->requests_per_minute / 60.0);
		throttle->tokens = throttle->capacity;
	}
}

void
throttle_reload(Throttle *throttle, const MixpeekServer *server, bool same_limits)
{
	Throttle	old = *throttle;

	if (!same_limits)
		throttle_init(throttle, server);
	throttle->running = old.running;
	throttle->nstarted = old.nstarted;
	throttle->down = old.down;
	throttle->down_until = 0;
	throttle->down_delay = 0;
}

/* Add the tokens that the bucket has received since it was last filled. */
static void
fill_bucket(Throttle *throttle, double now)
{
	throttle->tokens = Min(throttle->capacity, throttle->tokens + (now - throttle->filled_at) * throttle->rate);
	throttle->filled_at = now;
}

/*
 * Return the number of tokens to leave unused if the bucket holds several.  Requests
 * do not arrive as evenly as they are sent, and one that arrives too early, and gets
 * a 429, costs more than unused tokens do.
 */
static double
reserved_tokens(const Throttle *throttle)
{
	return Min(2.0, (throttle->capacity - 1.0) / 4);
}

/* Before the first answer few requests are sent, because its headers may show a low limit. */
int
throttle_at_once(const Throttle *throttle)
{
	if (throttle->down)
		return 1;
	return Min((int) throttle->concurrency, throttle->any_ended ? INT_MAX : FIRST_REQUESTS);
}

/* Return the number of requests that may be running. */
static int
max_started(const Throttle *throttle)
{
	int			at_once = throttle_at_once(throttle);

	if (throttle->any_ended && !throttle->down && throttle->failures == 0 && throttle->rate == 0)
		return at_once * 2;
	return at_once;
}

double
throttle_delay(Throttle *throttle, double now)
{
	double		delay = 0;

	if (throttle->running >= max_started(throttle))
		return -1;
	if (throttle->down)
		delay = throttle->down_until - now;
	delay = Max(delay, throttle->blocked_until - now);
	if (throttle->rate > 0)
	{
		fill_bucket(throttle, now);
		if (throttle->tokens < 1.0 + reserved_tokens(throttle))
			delay = Max(delay, (1.0 + reserved_tokens(throttle) - throttle->tokens) / throttle->rate);
	}
	return Min(Max(delay, 0), MAX_DELAY);
}

/*
 * Return how many keys to have claimed in addition to those of running requests: as
 * many as can be sent within the next second, so that no key is in state "sending"
 * for long.
 */
static int
keys_ahead(Throttle *throttle, double now)
{
	if (throttle->rate == 0)
		return MAX_AHEAD;
	fill_bucket(throttle, now);
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
	ThrottleMark mark = {++throttle->nstarted, throttle->running++};

	if (throttle->rate > 0)
		throttle->tokens -= 1.0;
	return mark;
}

void
throttle_not_begun(Throttle *throttle)
{
	throttle->running--;
}

/*
 * Correct our token count from X-RateLimit-Remaining, which is the server's count when
 * it admitted this request.  Requests started later, or running at the time, may have
 * been counted before or after it, because the server need not admit them in our order
 * and answers may arrive out of order.  So the header gives only a lower and an upper
 * bound; between them, keep our own count.
 */
static void
correct_tokens(Throttle *throttle, ThrottleMark mark, const HttpAnswer *answer)
{
	double		later = throttle->nstarted - mark.nstarted;
	double		least = answer->remaining - later - mark.running;
	double		most = answer->remaining + throttle->rate * answer->seconds -
		Max(later - throttle->running, 0);

	if (!throttle->rate_is_set) /* the option is an upper bound */
	{
		throttle->capacity = Max(throttle->capacity, answer->remaining + 1.0);
		throttle->tokens = Max(throttle->tokens, least);
	}
	throttle->tokens = Min(throttle->tokens, most);
}

/* Forget a rate that was learned from headers. */
static void
forget_rate(Throttle *throttle)
{
	throttle->rate = throttle->capacity = 0;
	throttle->tokens = 1.0;
}

/*
 * Take in what an answer's headers say about the rate, unless the server's option
 * sets it.  A successful answer without usable headers means that there is no rate
 * any more.
 */
static void
learn_rate(Throttle *throttle, ThrottleMark mark, double now, const HttpAnswer *answer, Verdict verdict)
{
	double		rate = answer->limit > 0 && answer->window > 0 ? answer->limit / answer->window : 0;

	if (!throttle->rate_is_set && rate >= MIN_RATE && rate <= MAX_RATE && rate != throttle->rate)
		set_rate(throttle, rate);
	else if (!throttle->rate_is_set && throttle->rate > 0 && verdict == VERDICT_DONE &&
			 !(rate >= MIN_RATE && rate <= MAX_RATE))
		forget_rate(throttle);
	if (throttle->rate > 0 && answer->remaining >= 0)
	{
		fill_bucket(throttle, now);
		correct_tokens(throttle, mark, answer);
	}
}

/* Reduce concurrency, and stop requests for as long as the answer asks for. */
static void
limit_requests(Throttle *throttle, double now, const HttpAnswer *answer, Verdict verdict)
{
	if (now - throttle->reduced_at > answer->seconds)
	{
		throttle->concurrency = Max(1.0, throttle->concurrency / 2);
		throttle->reduced_at = now;
	}
	if (answer->retry_after >= 0)
		throttle->blocked_until = now + Max(MIN_BLOCK, answer->retry_after);
	else if (verdict == VERDICT_SLOW_DOWN)
		throttle->blocked_until = now + (answer->reset > 0 ? answer->reset : DEFAULT_BLOCK);
}

/*
 * Count a failure, and open the breaker if it is the last of several or leaves no
 * doubt.  While it is open, ignore requests that were sent before it opened: only
 * later ones show that the server is still down.
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
	if (status_has(answer, STATUS_OURS))
		return THROTTLE_SAME;
	throttle->any_ended = true;
	learn_rate(throttle, mark, now, answer, verdict);
	if (status_has(answer, STATUS_OVERLOAD))
		limit_requests(throttle, now, answer, verdict);
	if (status_has(answer, STATUS_OUTAGE) && verdict != VERDICT_SLOW_DOWN)
		return count_failure(throttle, now, answer, verdict);

	throttle->failures = 0;
	throttle->down = false;
	if (verdict == VERDICT_DONE)
		throttle->concurrency = Min(throttle->max_running, throttle->concurrency + 1.0 / throttle->concurrency);
	return was_down ? THROTTLE_CAME_BACK : THROTTLE_SAME;
}
