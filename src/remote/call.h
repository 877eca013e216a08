/*-------------------------------------------------------------------------
 *
 * call.h
 *		One request that a session sends and waits for.
 *
 * The session has one client, which keeps connections alive from call to call.  A cancel
 * ends the wait, and the request, at once.
 *
 * Both functions take path as http_start() does, and body in the database encoding, or
 * NULL.  They return the API's answer in the current memory context, or NULL for a 204.
 * They raise an error if the answer is not a success (its SQLSTATE and hint are in
 * status.c), if it is not JSON, or if it exceeds response.h's bounds for sessions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_CALL_H
#define MIXPEEK_CALL_H

#include "remote/http.h"
#include "utils/jsonb.h"

/* Return the answer as jsonb. */
extern Jsonb *call_api(const MixpeekServer *server, HttpMethod method, const char *path, const char *body);

/*
 * Return the answer as it came: JSON in UTF-8, *len bytes and a NUL.  Parts of it may still
 * be impossible to store as jsonb.  If refused is not NULL, a refusal of the body (400 or 422) raises
 * no error; *refused says whether there was one.
 */
extern char *call_api_for_text(const MixpeekServer *server, HttpMethod method, const char *path,
							   const char *body, size_t *len, bool *refused);

/* Raise that a success had an answer of another kind than "what". */
pg_noreturn extern void call_raise_unexpected(const char *what);

/* Raise that a part of an answer cannot be read; why is bounded and has no line breaks. */
pg_noreturn extern void call_raise_unreadable(const char *why);

#endif							/* MIXPEEK_CALL_H */
