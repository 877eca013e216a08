/*-------------------------------------------------------------------------
 *
 * headers.h
 *		What an answer's headers say of when the next request may come.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_HEADERS_H
#define MIXPEEK_HEADERS_H

#include "remote/http.h"

/* None of them was there. */
extern void headers_forget(HttpAnswer *answer);

/* Takes one of them in, if it is one that matters. */
extern void headers_take(HttpAnswer *answer, const char *name, const char *value);

#endif							/* MIXPEEK_HEADERS_H */
