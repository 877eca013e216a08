/*-------------------------------------------------------------------------
 *
 * throttle.h
 *		How many requests a server may be sent, and when.
 *
 * Pure calculation: no I/O, no transaction, no error.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_THROTTLE_H
#define MIXPEEK_THROTTLE_H

#include "remote/response.h"

/*
 * A token bucket, a limit of concurrent requests that is halved by 429 and 503 and
 * grows back, and a circuit breaker.  Times are those of clock_seconds().
 */
typedef struct Throttle
{
	/* token bucket */
	double		rate;			/* tokens per second; 0: not known */
	bool		rate_is_set;	/* by the server's option */
	double		capacity;		/* most tokens that the bucket holds */
	double		tokens;
	double		filled_at;		/* when tokens was calculated */

	/* concurrent requests */
	int			max_running;	/* the server's max_connections */
	double		concurrency;	/* requests at once, from 1 to max_running */
	double		reduced_at;		/* when concurrency was last halved */
	int			running;		/* requests that have started and not ended;
								 * some may be queued in the HTTP client, see
								 * throttle_delay() */
	bool		any_ended;		/* a request has ended since the limits were
								 * set up */
	int64		nstarted;		/* requests started since the account exists */
	double		blocked_until;	/* by Retry-After and the like */

	/* circuit breaker */
	int			failures;		/* in a row */
	bool		down;			/* the breaker is open */
	double		down_until;		/* when one request may be sent to try */
	double		down_delay;		/* seconds; doubled with each failed try */
	double		failed_at;		/* when the last failure was counted */
} Throttle;

typedef enum ThrottleChange
{
	THROTTLE_SAME,
	THROTTLE_WENT_DOWN,
	THROTTLE_CAME_BACK
} ThrottleChange;

extern void throttle_init(Throttle *throttle, const MixpeekServer *server);

/*
 * Take in a server whose options or key have changed.  What was learned about its
 * limits is kept only if same_limits is true.  If the server was down, it may be
 * tried at once.
 */
extern void throttle_reload(Throttle *throttle, const MixpeekServer *server, bool same_limits);

/*
 * Return the seconds until the next request may start, at most an hour; 0: now, -1:
 * not before another one has ended.  If the server is usable and has no rate, up to
 * twice as many requests may start as throttle_at_once() returns: the HTTP client
 * sends that many at once, and the others when one of these has ended.
 */
extern double throttle_delay(Throttle *throttle, double now);
extern int	throttle_at_once(const Throttle *throttle);

/* Return how many keys may be claimed in addition to the given number that is claimed already. */
extern int	throttle_room(Throttle *throttle, double now, int claimed);

/*
 * Are enough claimed keys waiting to be sent?  Then the next claim can be put off:
 * claims of many keys are cheaper than claims of few.
 */
extern bool throttle_is_fed(Throttle *throttle, double now, int claimed);

/* The state of the throttle when a request started. */
typedef struct ThrottleMark
{
	int64		nstarted;		/* requests started, this one included */
	int			running;		/* other requests that were running */
} ThrottleMark;

/* Count a request that starts.  Return the mark to be given to throttle_ended(). */
extern ThrottleMark throttle_started(Throttle *throttle);

/* Uncount a request that was started but not sent. */
extern void throttle_not_begun(Throttle *throttle);

/*
 * Take in how a request ended: adjust the limits from the answer and its verdict.
 * Return whether the server went down or came back by it.
 */
extern ThrottleChange throttle_ended(Throttle *throttle, ThrottleMark mark, double now,
									 const HttpAnswer *answer, Verdict verdict);

#endif							/* MIXPEEK_THROTTLE_H */
