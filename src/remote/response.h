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
#include "remote/status.h"
#include "utils/jsonb.h"

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
