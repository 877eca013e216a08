/*-------------------------------------------------------------------------
 *
 * settle.c
 *		Outcomes into mixpeek.documents.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/clock.h"
#include "state/documents.h"
#include "storage/lmgr.h"
#include "worker/delegate.h"
#include "worker/inventory.h"
#include "worker/settle.h"
#include "worker/worker.h"

/* Settle when so many jobs have ended, or when the first of them ended so many seconds ago. */
#define SETTLE_JOBS		64
#define SETTLE_DELAY	0.01

/* Seconds after which a job is settled whose table was locked. */
#define LOCKED_DELAY	0.5

bool
settle_is_time(const Worker *worker, double now)
{
	if (worker->jobs.nended == 0 || now < worker->jobs.ended_at || schedule_is_locked(worker))
		return false;
	return worker->jobs.nended >= SETTLE_JOBS || worker->jobs.nended == worker->jobs.count ||
		worker->jobs.kept_bytes > FULL_KEPT_BYTES ||
		now - worker->jobs.ended_at >= SETTLE_DELAY;
}

double
settle_delay(const Worker *worker, double now)
{
	double		at = Max(worker->jobs.ended_at, worker->schedule.locked_until);

	return worker->jobs.nended == 0 ? -1 : Max(at - now, 0) + SETTLE_DELAY;
}

/*
 * Take the jobs to be settled now out of the queue.  A lock that another session holds on the
 * table may be that of a DROP, which deletes the same records.
 */
static List *
take_ended(Worker *worker)
{
	double		now = clock_seconds();
	List	   *jobs = NIL;
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &worker->jobs.ended)
	{
		Job		   *job = dlist_container(Job, node, iter.cur);

		if (worker->recovery.careful_settles > 0 && jobs != NIL)
			break;
		if (job->settle_at > now || !ConditionalLockRelationOid(job->relation, AccessShareLock))
			continue;
		dlist_delete(iter.cur);
		worker->jobs.nended--;
		jobs = lappend(jobs, job);
	}
	return jobs;
}

/* Store the outcomes, and return their jobs. */
static List *
store_outcomes(Worker *worker)
{
	List	   *jobs = take_ended(worker);
	ListCell   *lc;

	worker->recovery.settling = jobs;
	document_settle(jobs);
	inventory_settle(worker, jobs);
	foreach(lc, jobs)
	{
		const Job  *job = lfirst(lc);

		if (job->outcome != OUTCOME_FAILED)
			schedule_note_due(worker, document_due(job));
	}
	if (jobs == NIL)
		worker->recovery.careful_settles = 0;
	if (worker->recovery.careful_settles > 0)
		worker->recovery.careful_settles--;
	else
		worker->jobs.ended_at = clock_seconds() + LOCKED_DELAY; /* of those that stay */
	return jobs;
}

static void
free_jobs(Worker *worker, List *jobs)
{
	ListCell   *lc;

	foreach(lc, jobs)
		jobs_free(worker, lfirst(lc));
	if (jobs != NIL && worker->schedule.left_busy)
		schedule_retry_busy(worker);
}

void
settle_ended(Worker *worker)
{
	UserState	user;
	List	   *settled;

	worker_begin(worker, &user);
	MemoryContextSwitchTo(worker->turn_context);
	settled = schedule_lock_records(worker) ? store_outcomes(worker) : NIL;
	worker_commit(worker, &user, false);
	recovery_note_success(worker);
	delegate_send(worker);
	free_jobs(worker, settled);
	mirror_cache_sweep(worker->cache);
}
