/*-------------------------------------------------------------------------
 *
 * worker.h
 *		The worker: its state, its transactions, and its process.
 *
 * Each part of the worker's work keeps its state in a struct of its own, which its
 * header declares.  A function that needs more than its own part gets the Worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_WORKER_H
#define MIXPEEK_WORKER_H

#include "base/user.h"
#include "worker/agents.h"
#include "worker/delegate.h"
#include "worker/failure_log.h"
#include "worker/forward.h"
#include "worker/jobs.h"
#include "worker/mirror_cache.h"
#include "worker/origin_check.h"
#include "worker/recovery.h"
#include "worker/request.h"
#include "worker/schedule.h"

/* What a worker process was started for. */
typedef enum WorkerPurpose
{
	WORKER_MIRRORS,				/* to mirror, as long as the extension exists */
	WORKER_SYNCS,				/* to mirror for one mixpeek.sync(), without
								 * preloading */
	WORKER_WATCHES				/* to answer one mixpeek.wait(), without
								 * preloading: it mirrors nothing */
} WorkerPurpose;

typedef struct Watch Watch;

struct Worker
{
	MemoryContext context;		/* lives as long as the worker */
	MemoryContext turn_context; /* reset at the start of each turn */
	MemoryContext answer_context;	/* reset after each answer */
	WorkerPurpose purpose;
	bool		closing;		/* no new work is started */
	bool		leave;			/* the extension has been dropped */

	Watch	   *watch;			/* tickets of waiting sessions */
	HttpClient *http;
	MirrorCache *cache;			/* mirrors and accounts */
	Agents	   *agents;
	FailureLog *failure_log;

	OriginCheck origin;
	Schedule	schedule;
	Jobs		jobs;
	Delegation	delegation;
	Requests	requests;
	Recovery	recovery;

	/* for the tickets: each counter grows with every */
	uint64		transactions;	/* transaction of the worker that committed */
	uint64		moves;			/* change that makes a key due earlier, or
								 * puts it into the outbox again */

	/* results of the turn's parts, in seconds; -1: nothing to wait for */
	double		send_in;		/* until another request may start */
	double		watch_in;		/* until the tickets must be checked again */
};

/*
 * Start and commit a transaction of the worker, which runs with a superuser's rights.
 * With flush the commit waits until it is on disk and, where configured, on the
 * synchronous standby; an intent must be, before its request is sent.
 */
extern void worker_begin(Worker *worker, UserState *user);
extern void worker_commit(Worker *worker, const UserState *user, bool flush);

/* Background worker entry points. */
extern PGDLLEXPORT void mixpeek_worker_main(Datum main_arg);
extern PGDLLEXPORT void mixpeek_ticket_worker_main(Datum main_arg);

#endif							/* MIXPEEK_WORKER_H */
