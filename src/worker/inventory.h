/*-------------------------------------------------------------------------
 *
 * inventory.h
 *		Which documents does the API have that no record knows?
 *
 * An entry "all documents" of the outbox is worked on page by page: a job requests a page of the
 * collection's documents, and the keys of those that have this mirror's marker and no record
 * are entered into the outbox, to be rechecked like any other key.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_INVENTORY_H
#define MIXPEEK_INVENTORY_H

#include "lib/stringinfo.h"
#include "remote/response.h"
#include "state/job.h"
#include "state/outbox.h"
#include "worker/forward.h"

/*
 * Make a job for an entry.  Returns false if the entry is left for later.  *job is NULL if there
 * is nothing to do any more.
 */
extern bool inventory_take(Worker *worker, OutboxEntry *entry, Job **job);

/* Check whether there is a job for an entry, or for another one of its mirror. */
extern bool inventory_has_job(Worker *worker, const OutboxEntry *entry);

/*
 * Parts of the request: what follows the path of the collection's documents, and its body in UTF-8 in
 * the current memory context.
 */
extern void inventory_append_path(StringInfo path, const Job *job, JobStep step);
extern char *inventory_body(const Request *request, size_t *len);

/* Take the answer: the job has its page's keys, or waits, or has failed. */
extern void inventory_collect(Worker *worker, Request *request, const HttpAnswer *answer, Response *response);

/* Store what the jobs have found, those of other kinds left out.  Must be called in a transaction. */
extern void inventory_settle(Worker *worker, List *jobs);

#endif							/* MIXPEEK_INVENTORY_H */
