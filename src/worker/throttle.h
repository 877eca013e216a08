/*-------------------------------------------------------------------------
 *
 * throttle.h
 *		How much a server may be asked, and whether it may be asked at all.
 *		Pure: time comes in, numbers come out.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_THROTTLE_H
#define MIXPEEK_THROTTLE_H

#include "remote/response.h"

/*
 * A token bucket, a window of concurrent requests that halves on 429 and 503 and
 * grows back, and a circuit breaker.  All times are seconds of clock_seconds().
 */
typedef struct Throttle
{
	double		rate;			/* tokens a second, 0: not known */
	bool		rate_is_set;	/* by the server's option */
	double		burst;			/* tokens the bucket holds */
	double		tokens;
	double		filled_at;
	int			max_running;	/* the server's max_connections */
	double		window;			/* requests at once, 1 … max_running */
	double		shrunk_at;
	int			running;		/* also those that wait in the client; see
								 * throttle_delay() */
	bool		ended;			/* a request has, since the limits were set up */
	int64		started;		/* ever */
	double		blocked_until;	/* Retry-After */
	int			failures;		/* in a row */
	bool		down;			/* the breaker is open */
	double		down_until;		/* then one request may try */
	double		down_delay;
	double		failed_at;		/* when the last failure counted */
} Throttle;

typedef enum ThrottleChange
{
	THROTTLE_SAME,
	THROTTLE_WENT_DOWN,
	THROTTLE_CAME_BACK
} ThrottleChange;

extern void throttle_init(Throttle *throttle, const MixpeekServer *server);

/*
 * The server's options, or its key, have changed: what was learnt of its limits is
 * forgotten if they are others now, and if it was down it may be tried at once.
 */
extern void throttle_reload(Throttle *throttle, const MixpeekServer *server, bool same_limits);

/*
 * Seconds until a request may start: 0 now, -1 not before another has ended.  Of a
 * server that is well, and has no rate, more are started than may run: of all of them
 * throttle_at_once() are sent, and the others as soon as one of these has ended.
 */
extern double throttle_delay(Throttle *throttle, double now);
extern int	throttle_at_once(const Throttle *throttle);

/* How many keys it makes sense to have ready, beyond those already claimed. */
extern int	throttle_room(Throttle *throttle, double now, int claimed);

/* Enough of them wait for their turn: many keys are claimed at once, and then none for a while. */
extern bool throttle_is_fed(Throttle *throttle, double now, int claimed);

/* A request goes out: how many had gone out with it, and how many others were under way. */
typedef struct ThrottleMark
{
	int64		number;
	int			running;
} ThrottleMark;

extern ThrottleMark throttle_started(Throttle *throttle);
extern void throttle_not_begun(Throttle *throttle);
extern ThrottleChange throttle_ended(Throttle *throttle, ThrottleMark mark, double now,
									 const HttpAnswer *answer, Verdict verdict);

/* Did it end for want of something that this process has too little of?  That says nothing of the server. */
extern bool throttle_is_ours(const HttpAnswer *answer);

/* Was this the server's failure, not the request's?  It costs no attempt. */
extern bool throttle_is_outage(const HttpAnswer *answer, Verdict verdict);

#endif							/* MIXPEEK_THROTTLE_H */
