/*-------------------------------------------------------------------------
 *
 * status.h
 *		What an HTTP status, or a transfer that broke, means.
 *
 * One constant table in status.c has all of it.  The table holds no pointer into a
 * memory context, and no function here allocates, raises an error or reads a
 * setting, so the engine's thread may call them, too.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_STATUS_H
#define MIXPEEK_STATUS_H

#include "remote/http.h"

/*
 * The answer to "what now?" for each way in which a request can end.  What the
 * worker does for each verdict, as "Failure and recovery" in docs/operations.md
 * describes it and the tests check it:
 *
 *	verdict		counts as	next request				state until then,
 *				attempt									at the end
 *	---------------------------------------------------------------------------
 *	DONE		-			none						mirrored
 *	GONE		no			update, delete: look-up,	sending
 *							at once
 *				yes			create, look-up: none		failed
 *	REFUSED		yes			after mixpeek.retry() or	failed
 *							the next change (1)
 *	SLOW_DOWN	no			after Retry-After, else		sending; pending if
 *							X-RateLimit-Reset, else		the wait is over 5 s
 *							1 s
 *	UNAUTHORIZED,
 *	UNREACHED	no			the server is down: after	pending
 *							1 s, 2 s ... 1 min (2)
 *	UNSURE		yes			after a random time up to	pending; after
 *							1 s, 2 s ... (3); a create	max_attempts failed
 *							is looked up first
 *
 * (1) A look-up with STATUS_NO_FILTER or STATUS_TOO_LARGE is split.  If it asked for
 * one key and had STATUS_NO_FILTER, the server's option if_unfindable decides.
 * (2) Or as soon as the server, its mapping or a right to use it changes.
 * (3) The bound stops doubling at retry_max_delay.  The wait is not shorter than
 * Retry-After, nor, with STATUS_MAY_CONTINUE, than request_timeout.  With
 * STATUS_OUTAGE, five in a row make the server down, and then it is as for
 * UNREACHED.  With STATUS_OURS it counts as no attempt.
 *
 * The worker treats as REFUSED what never becomes a request: a row or template that
 * cannot be rendered, a document over 16 MB, a key over 2,000 bytes.  Without server,
 * mapping or USAGE, a key is tried every minute or when that changes, and no attempt is
 * counted.  A crash is UNSURE, and the key waits for request_timeout.
 */
typedef enum Verdict
{
	VERDICT_DONE,				/* the API did what was requested */
	VERDICT_GONE,				/* there is no such document (or collection) */
	VERDICT_REFUSED,			/* the API will never accept this request */
	VERDICT_SLOW_DOWN,			/* not done: too many requests */
	VERDICT_UNAUTHORIZED,		/* not done, nor will any other request be */
	VERDICT_UNREACHED,			/* not done: the server cannot be used */
	VERDICT_UNSURE				/* perhaps done */
} Verdict;

/* The failure is the server's and not the request's: it may count towards "the server is down". */
#define STATUS_OUTAGE		0x01

/* Requests that wait in the client for the same server are returned unsent.  Broken transfers do that, too. */
#define STATUS_HOLDS_OTHERS	0x02

/* The server may have the request and still be at work on it, until request_timeout is over. */
#define STATUS_MAY_CONTINUE	0x04

/* This process had too little of something: the failure says nothing about the server. */
#define STATUS_OURS			0x08

/* The server is overloaded: fewer requests at once. */
#define STATUS_OVERLOAD		0x10

/* As the answer to a look-up: the API cannot filter by the marker. */
#define STATUS_NO_FILTER	0x20

/* As the answer to a look-up: one that asks for fewer markers may be accepted. */
#define STATUS_TOO_LARGE	0x40

/* A row of the table. */
typedef struct StatusMeaning
{
	HttpEnd		end;
	int			first;			/* HTTP statuses, if end is HTTP_ANSWERED */
	int			last;
	Verdict		verdict;
	int			sqlstate;		/* of the error that a session gets; 0 if done */
	int			flags;			/* STATUS_... */
	const char *reason;			/* beginning of the message, without text of
								 * remote origin; NULL if done */
	const char *hint;			/* or NULL */
} StatusMeaning;

/* Return the meaning of an HTTP status (of any number) or a broken transfer; never NULL. */
extern const StatusMeaning *status_meaning(HttpEnd end, int status);

/* Check whether the meaning of how the request ended has this flag. */
extern bool status_has(const HttpAnswer *answer, int flag);

#endif							/* MIXPEEK_STATUS_H */
