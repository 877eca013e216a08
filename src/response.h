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
#include "utils/jsonb.h"

/*
 * The one answer to "what now?" for each way a request can end; the table in
 * response.c says which HTTP status or transport failure is which.
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
 */
extern Response *response_read(const HttpAnswer *answer);

/*
 * A JSON text in the database encoding as jsonb, or NULL and why not in *error.
 * Needs no transaction.
 */
extern Jsonb *response_parse_json(const char *text, size_t len, char **error);

#endif							/* MIXPEEK_RESPONSE_H */
