/*-------------------------------------------------------------------------
 *
 * jobs.h
 *		The table of jobs: one a key, from its claim until it is settled.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_JOBS_H
#define MIXPEEK_JOBS_H

#include "lib/ilist.h"
#include "state/job.h"
#include "utils/hsearch.h"
#include "worker/forward.h"
#include "worker/mirror_cache.h"

/*
 * Bytes of enrichments in memory.  From FULL_KEPT_BYTES on outcomes are settled at
 * once; beyond MAX_KEPT_BYTES enrichments are dropped, and come with the next poll.
 */
#define FULL_KEPT_BYTES	(4 * 1024 * 1024)
#define MAX_KEPT_BYTES	(16 * 1024 * 1024)

typedef struct Jobs
{
	MemoryContext context;		/* parent of the jobs' memory */
	HTAB	   *by_key;			/* of JobEntry */
	HTAB	   *by_marker;		/* of MarkerEntry: whose requests may be sent */
	int			count;
	uint64		last_number;	/* of the job that was created last */
	uint64		claim;			/* number of the latest claim transaction */
	uint64		claim_committed;	/* number of the latest one that committed */
	List	   *idle_contexts;	/* memory of freed jobs, to be used again */

	dlist_head	to_write;		/* jobs that wait for their write-back */
	dlist_head	ended;			/* jobs that wait to be settled */
	int			nended;
	double		ended_at;		/* when the first of these ended */

	size_t		kept_bytes;		/* of all jobs' enrichments, except those */
	size_t		unwritten_bytes;	/* of jobs that wait for their write-back */
} Jobs;

typedef struct JobKey
{
	Oid			relation;
	const char *collection;
	const char *key;
} JobKey;

typedef struct JobEntry
{
	JobKey		key;
	Job		   *job;
} JobEntry;

/* A marker that jobs have taken; see jobs_take_marker(). */
typedef struct MarkerEntry
{
	char	   *marker;
	Oid			relation;		/* of these jobs; 0: owed deletes */
	int			njobs;
} MarkerEntry;

/* Make an empty table; its memory is a child of context. */
extern void jobs_init(Jobs *jobs, MemoryContext context);

/* Return the job of a key, or NULL. */
extern Job *jobs_find(Jobs *jobs, Oid relation, const char *collection, const char *key);

/* Create the job of a key that has none, in a collection: the mirror's, or that of an owed delete. */
extern Job *jobs_create(Worker *worker, CachedMirror *cached, const char *collection, const char *key);

/*
 * End a job with an outcome; error (copied) goes into last_error, or is NULL.  A job
 * with something to write into its row waits for its write-back first; then, as with
 * jobs_settle(), it waits for the next transaction that settles.
 */
extern void jobs_end(Worker *worker, Job *job, JobOutcome outcome, const char *error);
extern void jobs_settle(Worker *worker, Job *job);

/* Count the change of a job's enrichments, of which it had so many bytes before. */
extern void jobs_count_kept(Worker *worker, Job *job, size_t bytes_before);

/* Remove a job from the table, without an outcome, and free it. */
extern void jobs_free(Worker *worker, Job *job);

/*
 * Take a job's marker, which it keeps until it is freed.  Returns false if a job of another relation
 * has it, wherever its document is: the names of places and collections do not tell whether they are
 * the same ones.  Jobs of one relation, which are of different collections, do not exclude each other.
 */
extern bool jobs_take_marker(Jobs *jobs, Job *job);

#endif							/* MIXPEEK_JOBS_H */
