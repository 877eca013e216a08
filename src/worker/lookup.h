/*-------------------------------------------------------------------------
 *
 * lookup.h
 *		Look-ups: which documents have these markers?
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_LOOKUP_H
#define MIXPEEK_LOOKUP_H

#include "lib/stringinfo.h"
#include "remote/response.h"
#include "state/job.h"
#include "worker/account.h"
#include "worker/forward.h"

/* Documents that a look-up asks for at once; the API's pages hold up to as many. */
#define LOOKUP_PAGE		1000

/*
 * Parts of the request: what follows the path of the collection's documents, its body in
 * UTF-8 in the current memory context, and how many jobs may go together.
 */
extern void lookup_append_path(StringInfo path, const Job *job, JobStep step);
extern char *lookup_body(const Request *request, size_t *len);
extern int	lookup_max_jobs(const Account *account);

/* Take the answer: each of the request's jobs goes on, waits, or has failed. */
extern void lookup_collect(Worker *worker, Request *request, const HttpAnswer *answer, Response *response);

#endif							/* MIXPEEK_LOOKUP_H */
