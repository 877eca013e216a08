/*-------------------------------------------------------------------------
 *
 * response.h
 *		The result of a request, for the worker and for sessions: what its
 *		status means (status.h), and the API's own words.
 *
 * Pure: no catalog, no network.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_RESPONSE_H
#define MIXPEEK_RESPONSE_H

#include "lib/stringinfo.h"
#include "remote/status.h"
#include "utils/jsonb.h"

/* The result of a request.  Only response.c changes it. */
typedef struct Response
{
	Verdict		verdict;
	Jsonb	   *json;			/* the answer, if it was to be read as jsonb;
								 * else NULL */
	int			sqlstate;		/* of the error that a session gets */
	const char *reason;			/* for the log, without text of remote origin;
								 * NULL if done */
	char	   *message;		/* one line, for last_error and errmsg; NULL
								 * if done */
	char	   *detail;			/* the API's type, message and field paths, or
								 * NULL */
	const char *hint;			/* what to do, or NULL */
} Response;

/* What the caller of response_read() needs of the body of a success. */
typedef enum ResponseUse
{
	RESPONSE_UNREAD,			/* nothing: it reads the text itself, and
								 * calls response_reject_unreadable() if it
								 * cannot */
	RESPONSE_AS_TEXT,			/* that it is JSON, within the bounds below */
	RESPONSE_AS_JSONB			/* the same, and its value */
} ResponseUse;

/* Bounds of an answer that a session reads: see scan.h. */
#define MAX_SESSION_DEPTH	1000
#define MAX_SESSION_VALUES	4000000
#define MAX_SESSION_BYTES	(64 * 1024 * 1024)	/* with its numbers written
												 * out */

/*
 * Return what the end of a request means, allocated in the current memory context.  A body
 * that cannot be read as "use" says (malformed, too large, not UTF-8, not possible as jsonb)
 * makes the verdict VERDICT_UNSURE; no error is raised for it.  All text of remote origin in
 * message and detail is bounded and in the database encoding.
 */
extern Response *response_read(const HttpAnswer *answer, ResponseUse use);

/* Turn a success into VERDICT_UNSURE because its body cannot be read; why may have text of remote origin. */
extern void response_reject_unreadable(Response *response, const HttpAnswer *answer, const char *why);

/* Turn a success into another verdict because its body does not say what it must; reason is static text. */
extern void response_reject(Response *response, Verdict verdict, const char *reason);

/* Return a text, palloc'd, that says where a body stops being JSON; wrong is a place in the body. */
extern char *response_describe_wrong(const HttpAnswer *answer, const char *wrong);

/*
 * Return a JSON text in UTF-8 as jsonb; or NULL, and why it cannot be jsonb in *error.  The text
 * has been scanned (scan.h) and is within bounds.  Needs no transaction.  Raises only a cancel or
 * a termination of the process.
 */
extern Jsonb *response_parse_utf8(const char *text, size_t len, char **error);

/*
 * Append text of remote origin, in the database encoding: at most max bytes, on one line, without
 * characters that are invisible or change the order in which others are displayed.
 */
extern void response_append_remote(StringInfo dst, const char *text, size_t len, int max);

#endif							/* MIXPEEK_RESPONSE_H */
