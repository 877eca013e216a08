/*-------------------------------------------------------------------------
 *
 * documents.h
 *		mixpeek.documents: the stored state of jobs' keys.
 *
 * All functions must be called in a transaction.  Lists are of Job.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_DOCUMENTS_H
#define MIXPEEK_DOCUMENTS_H

#include "state/job.h"

/* Fill in the stored state of each job's key. */
extern void document_fetch(List *jobs);

/*
 * Record the intent to send requests: state "sending", one attempt more, and the content unknown
 * until an answer confirms it.  Must be committed and flushed before a request is sent.
 * If a job was assumed to be new and its key has a record all the same, nothing is recorded, and
 * its record_tid is invalid afterwards.
 */
extern void document_intend(List *jobs);

/* Put off the next poll of documents that are being polled. */
extern void document_postpone(List *jobs);

/* Store the jobs' outcomes.  Records that were deleted meanwhile stay deleted. */
extern void document_settle(List *jobs);

/*
 * Check whether settling removes the stored enrichments of a job that has ended: the polls are over, and
 * the last answer had none.
 */
extern bool document_drops_enrichments(const Job *job);

/* Return the earliest time at which a job that has ended is due again; 0 if never. */
extern TimestampTz document_due(const Job *job);

/* Return the longest delay between two polls of a document, in seconds. */
extern int	document_longest_poll_delay(void);

#endif							/* MIXPEEK_DOCUMENTS_H */
