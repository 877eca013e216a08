/*-------------------------------------------------------------------------
 *
 * lookup.h
 *		Look-ups: which documents have these markers?
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_LOOKUP_H
#define MIXPEEK_LOOKUP_H

#include "worker/worker.h"

/* Documents that a look-up asks for at once; the API's pages hold up to as many. */
#define LOOKUP_PAGE		1000

/* The request's body, in the current memory context. */
extern char *lookup_body(const Request *request, size_t *len);

/* Takes an answer in: each of the request's jobs goes on, waits or has failed. */
extern void lookup_collect(Worker *worker, Request *request, const HttpAnswer *answer, Response *response);

#endif							/* MIXPEEK_LOOKUP_H */
