/*-------------------------------------------------------------------------
 *
 * headers.h
 *		The headers of an answer that say when the next request may be sent, and
 *		how the API calls this one.
 *
 * Their values may be anything.  The functions are called in the engine's thread: they neither
 * raise errors nor palloc.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_HEADERS_H
#define MIXPEEK_HEADERS_H

#include "remote/http.h"

/* Set all fields of headers to HTTP_NO_HEADER. */
extern void headers_clear(HttpAnswer *answer);

/* Store a header's value, if it is one of those that count and the value makes sense. */
extern void headers_take(HttpAnswer *answer, const char *name, const char *value);

#endif							/* MIXPEEK_HEADERS_H */
