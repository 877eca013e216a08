/*-------------------------------------------------------------------------
 *
 * documents.h
 *		mixpeek.documents: what is known of each mirrored row's document.
 *
 * All functions run in a transaction; lists are of Job.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_DOCUMENTS_H
#define MIXPEEK_DOCUMENTS_H

#include "state/job.h"

/* Fills in what is stored about each job's key. */
extern void document_fetch(List *jobs);

/*
 * Records what is about to be sent: state "sending", one attempt more, the
 * content not known until an answer says so.  Must be committed and flushed
 * before a byte goes out.  Nothing is recorded of a job that was taken for new and is
 * not: its record is not valid then.
 */
extern void document_intend(List *jobs);

/* Puts off the next look of documents that are being looked at. */
extern void document_postpone(List *jobs);

/* Stores what became of each job.  Records that are gone stay gone. */
extern void document_settle(List *jobs);

/* When a job that has ended is looked at again at the earliest; 0: never. */
extern TimestampTz document_due(const Job *job);

/* Records of a server and table owner that a worker before this one left "sending". */
typedef struct AbandonedKeys
{
	char	   *server;
	Oid			relation;
	Oid			owner;			/* InvalidOid: the table is gone */
} AbandonedKeys;

extern List *document_abandoned(void);

/*
 * They become pending, due when rest milliseconds have passed since this worker
 * began.  Where the clock is not the one of the worker before it, so do pending and failed
 * ones whose last request may still be at work.
 */
extern void document_recover(const AbandonedKeys *abandoned, int rest);

/*
 * Where the clock is not the one of the worker before this, nothing is due later than
 * a worker could have said: max_delay seconds, or a look for enrichments.
 */
extern void document_bound_waits(int max_delay);

/*
 * Pending ones of a server and table owner are due at once, but those whose last request
 * may still be at work on the other side.  Looks at up to limit records of anybody's that are
 * due at *position or later, and moves that on; true if there may be more.
 */
extern bool document_hurry(const char *server, Oid owner, TimestampTz *position, int limit);

/* A key and its next_attempt_at. */
typedef struct DueKey
{
	Oid			relation;
	char	   *collection;
	char	   *key;
	TimestampTz due;
} DueKey;

/* Up to limit of those that are due from one time until before another, as a List of DueKey, in that order. */
extern List *document_read_due(TimestampTz from, TimestampTz until, int limit);

/* When the first one after that time comes; 0 if none will. */
extern TimestampTz document_next_due(TimestampTz after);

/*
 * Up to limit keys stored for the mirror that follow "after" (NULL: from the
 * first), as a List of char *.
 */
extern List *document_scan_keys(Oid relation, const char *collection,
								const char *after, int limit);

/*
 * The work of SQL functions, of one table's documents in one collection or (NULL)
 * in all: forget; look at failed ones again (error: a LIKE pattern or NULL), look for
 * enrichments again, which return the number of them.
 */
extern void document_forget(Oid relation, const char *collection);

/* Were there documents of these markers that nothing is known of any more? */
extern bool document_was_forgotten(const char *marker_prefix, const char *collection);

extern int64 document_retry(Oid relation, const char *collection, const char *error);
extern int64 document_refresh(Oid relation, const char *collection);

#endif							/* MIXPEEK_DOCUMENTS_H */
