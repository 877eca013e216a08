/*-------------------------------------------------------------------------
 *
 * worker.h
 *		The reconciler's state, and what the parts of its work call of each other.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_WORKER_H
#define MIXPEEK_WORKER_H

#include "base/user.h"
#include "storage/itemptr.h"
#include "utils/hsearch.h"
#include "worker/account.h"
#include "worker/agent.h"
#include "worker/failure_log.h"
#include "worker/walk.h"

/* mixpeek.sync() waits for keys that are due within so many seconds. */
#define SYNC_PATIENCE	5

/* What it is there for. */
typedef enum WorkerPurpose
{
	WORKER_MIRRORS,				/* for as long as the extension is there */
	WORKER_SYNCS,				/* for one mixpeek.sync(), where the library
								 * is not preloaded */
	WORKER_WATCHES				/* to answer one mixpeek.wait() there: it does
								 * no work */
} WorkerPurpose;

typedef struct Watch Watch;

typedef struct Worker
{
	MemoryContext context;		/* of everything */
	MemoryContext turn_context; /* reset each turn */
	MemoryContext answer_context;	/* reset with each answer */
	WorkerPurpose purpose;
	bool		closing;		/* nothing new is begun */
	Watch	   *watch;			/* who waits for it */
	HttpClient *http;
	MirrorCache *cache;
	FailureLog *failure_log;
	HTAB	   *jobs;			/* by key: claimed and not yet settled */
	int			njobs;
	uint64		last_job;		/* the number of the last one that was made */
	uint64		claims;			/* transactions that claimed, or may still
								 * fail */
	uint64		claims_done;	/* up to which one nothing can fail any more */
	List	   *idle_contexts;	/* of jobs that are no more */
	Agents	   *agents;
	bool		intends;		/* the transaction records what will be sent:
								 * to be flushed */
	List	   *delegated;		/* requests of a claim that are not handed
								 * over yet */
	List	   *answers;		/* requests that agents have answered, for the
								 * next claim */
	dlist_head	to_write;		/* jobs that wait for their row's columns to
								 * be written */
	dlist_head	ended;			/* jobs that wait to be settled */
	int			nended;
	double		ended_at;		/* when the first of them ended */
	size_t		kept_bytes;		/* of all jobs' enrichments, but those that
								 * wait to be written back: */
	size_t		unwritten_bytes;
	int			running;		/* requests under way */

	/* what is still to be looked at */
	char	   *copy_of;		/* why this database may not touch the
								 * documents, or NULL */
	bool		copy_reported;
	char	   *origin;			/* the markers' part that says whose they are;
								 * NULL: none yet */
	bool		unrecovered;	/* records that a worker before this one left
								 * "sending" */
	bool		was_unrecovered;	/* before the transaction, if that has
									 * recovered them */
	Walk		walk;			/* through the outbox */
	bool		look;			/* there is more in it to be looked at */
	bool		skipped;		/* keys were left that were under way */
	double		skipped_until;	/* a table was locked: look again then; 0: no */
	TimestampTz next_due;		/* in mixpeek.documents; 0: nothing, -1: not
								 * known */
	TimestampTz due_position;	/* where those that are due are read from */
	int			due_batch[2];	/* of them and of those left: to be read at
								 * once; 0: as many as are wanted */
	double		pass_due_by_at; /* not before, if none of those could be taken */
	bool		due_first;		/* of an odd number of keys, one more is due */

	/* for those who wait: grows with */
	uint64		changes;		/* each transaction */
	uint64		moves;			/* entries that are put in for others, times
								 * that come earlier */

	/* what an error tells of; see recovery.c */
	MemoryContext error_context;
	char	   *error;			/* the last one */
	char	   *error_hint;		/* or NULL */
	Oid			working_on;		/* the table that the worker is busy with, or
								 * InvalidOid */
	List	   *settling;		/* jobs of the transaction */
	Throttle   *starting;		/* of the request that is being started, or
								 * NULL */
	HttpTransfer *collecting;	/* whose answer is being taken in */
	Oid			blamed;			/* the table that it came from, to be set
								 * aside; or InvalidOid */
	int			careful_claims; /* so many are to be of one key */
	int			careful_settles;
	double		rest;			/* seconds; 0: it went well */
	double		rest_until;
	double		send_in;		/* seconds until there is more to be sent, or
								 * -1 */
	double		watch_in;		/* until it is to be looked at for those who
								 * wait, or -1 */
	bool		upset;			/* there was an error: is the extension still
								 * there? */
	bool		leave;			/* it is not */
} Worker;

/* One request: of one job, or a look-up for several. */
typedef struct Request
{
	Account    *account;
	JobStep		step;
	ThrottleMark mark;			/* of its connection's limits */
	bool		counted;		/* they know that it has ended */
	int			njobs;
	Job		   *jobs[FLEXIBLE_ARRAY_MEMBER];
} Request;

/* Bytes of enrichments that wait to be settled from which on it is time for that. */
#define FULL_KEPT_BYTES	(4 * 1024 * 1024)

/* The most of them, and of those that wait to be written back. */
#define MAX_KEPT_BYTES	(16 * 1024 * 1024)

/* The jobs that there are, by key. */
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


/*
 * Takes keys out of the outbox and due ones out of mixpeek.documents, as many as
 * the servers' limits let be sent soon, reads their rows, records what will be
 * sent, and queues the jobs.  In a transaction.
 */
extern void worker_claim(Worker *worker);

/* Ends a job: it is written back, if it is to be, and settled with the next transaction. */
extern void worker_end_job(Worker *worker, Job *job, JobOutcome outcome, const char *error);
extern void worker_settle_job(Worker *worker, Job *job);
extern void worker_free_job(Worker *worker, Job *job);

/* Must the job's row be read? */
extern bool worker_needs_row(const Job *job);

/* Frees a job whose key cannot be taken now: its entries are looked at again when its mirror takes some. */
extern void worker_leave_job(Worker *worker, Job *job);

/* A table's keys cannot be listed, which is logged and tried again later. */
extern void worker_cannot_list(Worker *worker, CachedMirror *cached, const char *problem);

/* What an answer means for a job: its next request goes out, or it ends. */
extern void worker_requeue(Job *job);
extern void worker_proceed(Worker *worker, Job *job);
extern void worker_take_document(Worker *worker, Job *job, const AnswerDocument *document);
extern void worker_take_failure(Worker *worker, Job *job, JobStep step,
								const HttpAnswer *answer, const Response *response);

/* The outbox, and due keys, may hold something that the walk has passed. */
extern void worker_look(Worker *worker);

/* Looks again where a server had no room and has some now. */
extern void worker_look_excluded(Worker *worker);

/* What was left may be taken now. */
extern void worker_look_left(Worker *worker);

/* The latch was set: somebody wants servers, and whose copy this is, looked at; settings have changed; or nothing of it. */
extern void worker_look_round(Worker *worker, bool woken, bool settings);

/* Keys that were left since they were under way, or until skipped_until. */
extern void worker_look_busy(Worker *worker);
extern void worker_look_skipped(Worker *worker, double now);

/* Is there something to be claimed, and room for it? */
extern bool worker_may_claim(Worker *worker);

/* The time of a key in mixpeek.documents has come, or that is not known. */
extern bool worker_is_due(const Worker *worker);

/* Nothing is claimed, whatever there is. */
extern bool worker_is_paused(const Worker *worker);

/* Takes in what a worker before this one died at, in a transaction. */
extern void worker_recall(Worker *worker);

/*
 * A transaction with a superuser's rights; flush: what it says must be on disk when it ends.
 */
extern void worker_begin(Worker *worker, UserState *guard);
extern void worker_commit(Worker *worker, const UserState *guard, bool flush);

/*
 * The parts of a turn, but the waiting (loop.c).  worker_send() returns seconds until more may go, or -1.
 * worker_collect() takes in all answers that have come; an error while it does is its own affair.
 */
extern void worker_settle_ended(Worker *worker);
extern void worker_claim_next(Worker *worker);
extern double worker_send(Worker *worker);
extern void worker_collect(Worker *worker);

#endif							/* MIXPEEK_WORKER_H */
