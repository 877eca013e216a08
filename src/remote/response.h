/*-------------------------------------------------------------------------
 *
 * response.h
 *		What the API's answers mean.  Pure: values in, values out.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_RESPONSE_H
#define MIXPEEK_RESPONSE_H

#include "lib/stringinfo.h"
#include "remote/http.h"
#include "utils/jsonb.h"

/*
 * The one answer to "what now?" for each way a request can end; the tables in
 * response.c say which HTTP status or transport failure is which.  What the worker
 * makes of it, as README's "Failure and recovery" tells it and
 * test/t/040_statuses.pl tries it:
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
 * came or a gateway's (502, 504), before request_timeout is over.  Where throttle_is_outage() holds (502, 503, 504,
 * timeout, lost connection) five in a row make the server down, as above.
 *
 * What never was a request: a row or template that cannot be rendered, a document
 * over 16 MB, a key over 2,000 bytes: as REFUSED (claim.c).  No server, mapping or
 * USAGE: for free, every minute or when that changes (account.c).  A crash: as
 * UNSURE, after request_timeout (claim.c).
 */
typedef enum Verdict
{
	VERDICT_DONE,				/* the API did what was asked */
	VERDICT_GONE,				/* 404: there is no such document (or
								 * collection) */
	VERDICT_REFUSED,			/* the API will never accept this request */
	VERDICT_SLOW_DOWN,			/* 429: not done, too many requests */
	VERDICT_UNAUTHORIZED,		/* 401: not done, nothing else will be either */
	VERDICT_UNREACHED,			/* not sent; the server is down for everybody */
	VERDICT_UNSURE				/* 408, 5xx, lost or unreadable answer:
								 * perhaps done */
} Verdict;

typedef struct Response
{
	Verdict		verdict;
	Jsonb	   *json;			/* the answer, NULL if there is none to read */
	int			sqlstate;		/* for errors of the SQL functions */
	const char *reason;			/* our own words only, for the log; NULL if
								 * done */
	char	   *message;		/* one line, for last_error and errmsg; NULL
								 * if done */
	char	   *detail;			/* the API's type, message and field paths, or
								 * NULL */
	const char *hint;			/* what to do, or NULL */
} Response;

/* What a session may read of one answer. */
#define MAX_SESSION_DEPTH	1000
#define MAX_SESSION_VALUES	4000000
#define MAX_SESSION_BYTES	(64 * 1024 * 1024)	/* with its numbers written
												 * out */

/*
 * Reads an answer; the result is in the current memory context.  Never
 * raises for what the other side sent: JSON that is malformed, too large, not
 * UTF-8 or cannot be jsonb makes the verdict VERDICT_UNSURE.  Everything of
 * remote origin in message and detail is bounded and in the database encoding.
 * A success' answer becomes json for a session only; the worker takes what it needs
 * from the text (answer.c), and says response_unreadable() if that cannot be done.
 */
extern Response *response_read(const HttpAnswer *answer, bool for_session);

/* Makes a success one whose answer is no JSON, for this reason. */
extern void response_unreadable(Response *response, const HttpAnswer *answer, const char *why);

/* Why a body cannot be read in which scan.c found that place to be wrong, palloc'd. */
extern char *response_wrong_at(const HttpAnswer *answer, const char *wrong);

/*
 * A JSON text in UTF-8 as jsonb, or NULL and why not in *error.  It was run over, and is not too
 * large.  Needs no transaction; raises only that the process is to end, or a cancel.
 */
extern Jsonb *response_parse_utf8(const char *text, size_t len, char **error);

/*
 * Appends text of remote origin, which is in the database encoding: at most max bytes, on one line,
 * and no character that is not seen or changes the order in which others are.
 */
extern void response_append_remote(StringInfo dst, const char *text, size_t len, int max);

#endif							/* MIXPEEK_RESPONSE_H */
