/*-------------------------------------------------------------------------
 *
 * response.h
 *		What the API's answers mean.  Pure: values in, values out.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_RESPONSE_H
#define MIXPEEK_RESPONSE_H

#include "http.h"
#include "member.h"

/*
 * The one answer to "what now?" for each way a request can end; the tables in
 * response.c say which HTTP status or transport failure is which.  What the worker
 * makes of it, as README's "Failure and recovery" tells it and
 * test/t/004_failures.pl tries it:
 *
 *		verdict		again?		when						state meanwhile, at the end
 *		DONE		-			-							mirrored
 *		GONE		update, delete: at once, by its marker	sending
 *					create, look-up: no						failed
 *		REFUSED		no (1)		mixpeek.retry(), next change	failed
 *		SLOW_DOWN	for free	Retry-After, else
 *								X-RateLimit-Reset, else 1 s	sending, pending from 5 s on
 *		UNAUTHORIZED, UNREACHED
 *					for free	server is down: 1 s, 2 s ... 1 min (2)	pending
 *		UNSURE		max_attempts times, looked up first;
 *								jitter up to 1 s, 2 s, 4 s ...
 *								retry_max_delay (3)			pending, then failed
 *
 * (1) A look-up refused with 400, 405, 413 or 422 is split; of one key with 400, 405
 * or 422 it may mean "create" (if_unfindable).  (2) Or when the server, its mapping
 * or a right to use it changes.  (3) Not before Retry-After, nor, where no answer
 * came or a gateway's (502, 504), before request_timeout is over.  Where limits_is_outage() holds (502, 503, 504,
 * timeout, lost connection) five in a row make the server down, as above.
 *
 * What never was a request: a row or template that cannot be rendered, a document
 * over 16 MB, a key over 2,000 bytes: as REFUSED (claim.c).  No server, mapping or
 * USAGE: for free, every minute or when that changes (connection.c).  A crash: as
 * UNSURE, after request_timeout (claim.c).
 */
typedef enum Verdict
{
	VERDICT_DONE,				/* the API did what was asked */
	VERDICT_GONE,				/* 404: there is no such document (or collection) */
	VERDICT_REFUSED,			/* the API will never accept this request */
	VERDICT_SLOW_DOWN,			/* 429: not done, too many requests */
	VERDICT_UNAUTHORIZED,		/* 401: not done, nothing else will be either */
	VERDICT_UNREACHED,			/* not sent; the server is down for everybody */
	VERDICT_UNSURE				/* 408, 5xx, lost or unreadable answer: perhaps done */
} Verdict;

typedef struct Response
{
	Verdict		verdict;
	Jsonb	   *json;			/* the answer, NULL if there is none to read */
	int			sqlstate;		/* for errors of the SQL functions */
	char	   *message;		/* one line, for last_error and errmsg; NULL if done */
	char	   *detail;			/* the API's type, message and field paths, or NULL */
	const char *hint;			/* what to do, or NULL */
} Response;

/*
 * Reads an answer; the result is in the current memory context.  Never
 * raises for what the other side sent: JSON that is malformed, too large, not
 * UTF-8 or cannot be jsonb makes the verdict VERDICT_UNSURE.  Everything of
 * remote origin in message and detail is bounded and in the database encoding.
 * Members of a success' answer that unwanted() names are left out; it may be NULL.
 */
extern Response *response_read(const HttpAnswer *answer, MemberFilter unwanted);

/*
 * A JSON text in the database encoding as jsonb, or NULL and why not in *error.
 * Needs no transaction.
 */
extern Jsonb *response_parse_json(const char *text, size_t len, char **error);

#endif							/* MIXPEEK_RESPONSE_H */
