/*-------------------------------------------------------------------------
 *
 * recovery.c
 *		Errors that end a part of the worker's work, and not the worker.
 *
 * What can go wrong with tables, answers and functions of others is kept from becoming an
 * error where it happens (guard.c, response.c).  This file handles the errors that come
 * through all the same, and those that no table is to blame for: a full disk, too little
 * memory, a cancel of the worker's statement by an administrator.
 *
 * A table that caused an error is set aside.  If it is not known which of several tables
 * did, the next claims take one key each, and the next outcomes are stored one by one, until
 * the error shows which it is.  Records that a worker before this one left as "sending" are
 * taken over here, too.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <math.h>

#include "access/xact.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/extension.h"
#include "base/lock.h"
#include "base/settings.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "state/aside.h"
#include "state/due.h"
#include "storage/lmgr.h"
#include "storage/lwlock.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "worker/delegate.h"
#include "worker/expansion.h"
#include "worker/recovery.h"
#include "worker/worker.h"

/* Seconds that the worker pauses after an error that is not a table's, doubled each time; after a cancel. */
#define MIN_REST		1.0
#define MAX_REST		10.0
#define CANCEL_REST		0.1

/* Seconds that a job waits whose outcome cannot be stored, doubled each time. */
#define MIN_JOB_DELAY	10.0
#define MAX_JOB_DELAY	60.0

/* Claims of one key each that follow an error that may be any of several tables'. */
#define CAREFUL_CLAIMS	256

void
recovery_init(Worker *worker)
{
	worker->recovery.context = AllocSetContextCreate(worker->context, "mixpeek error", ALLOCSET_SMALL_SIZES);
	worker->recovery.abandoned = true;
}

/*
 * After the death of a worker
 */

void
recovery_recall(Worker *worker)
{
	UserState	user;

	worker_begin(worker, &user);
	aside_recall();
	worker_commit(worker, &user, true);
}

void
recovery_take_over(Worker *worker)
{
	ListCell   *lc;

	worker->recovery.abandoned = false;
	if (!worker->recovery.rechecked_unlogged)
		expansion_recheck_unlogged(worker);
	worker->recovery.rechecked_unlogged = true;
	due_bound_waits(mixpeek_retry_max_delay);
	foreach(lc, due_list_abandoned())
	{
		AbandonedKeys *abandoned = lfirst(lc);
		Account    *account = mirror_cache_account(worker->cache, abandoned->server,
												   abandoned->owner);

		if (ConditionalLockRelationOid(abandoned->relation, AccessShareLock))
			due_recover_abandoned(abandoned, account->server ? account->server->request_timeout : 0);
		else
		{
			worker->recovery.abandoned = true;
			schedule_retry_in(worker, LOCK_DELAY);
		}
	}
}

/*
 * The jobs after an error
 */

/* Mark the jobs of a queue that stay in it, and take out those of a claim that did not commit. */
static void
sort_queue(Worker *worker, dlist_head *queue, int *n)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, queue)
	{
		Job		   *job = dlist_container(Job, node, iter.cur);

		if (job->claim > worker->jobs.claim_committed)
		{
			dlist_delete(iter.cur);
			(*n)--;
		}
		else
			job->queued = true;
	}
}

/* End a job that is in no queue any more; its key is tried again. */
static void
end_lost_job(Worker *worker, Job *job)
{
	if (job->refresh)
	{
		job->must_look_up = false;
		jobs_end(worker, job, OUTCOME_MIRRORED, NULL);
		return;
	}
	job->attempts--;
	job->next_attempt_at = clock_in(1000);
	jobs_end(worker, job, OUTCOME_PENDING, NULL);
}

/* Put a job where it belongs after an error. */
static void
place_job(Worker *worker, Job *job)
{
	bool		queued = job->queued;

	job->queued = false;
	if (job->claim > worker->jobs.claim_committed && !job->delegated)
		jobs_free(worker, job);
	else if (queued || job->under_way || job->delegated)
		return;
	else if (job->has_ended)	/* and its outcome was not stored */
	{
		dlist_push_tail(&worker->jobs.ended, &job->node);
		worker->jobs.nended++;
	}
	else
		end_lost_job(worker, job);
}

void
recovery_place_jobs(Worker *worker)
{
	HASH_SEQ_STATUS status;
	JobEntry   *entry;
	int			nto_write = 0;
	ListCell   *lc;

	delegate_abort(worker);
	foreach(lc, worker->cache->accounts)
	{
		Account    *account = lfirst(lc);

		sort_queue(worker, &account->ready, &account->nready);
		if (account->server == NULL && account->problem == NULL)
			account->valid = false; /* it was only half loaded */
	}
	sort_queue(worker, &worker->jobs.ended, &worker->jobs.nended);
	sort_queue(worker, &worker->jobs.to_write, &nto_write);
	hash_seq_init(&status, worker->jobs.by_key);
	while ((entry = hash_seq_search(&status)) != NULL)
		place_job(worker, entry->job);
}

/* Take back the count of a request that could not be started. */
static void
forget_start(Worker *worker)
{
	if (worker->requests.starting == NULL)
		return;
	throttle_not_begun(worker->requests.starting);
	worker->requests.running--;
	worker->requests.starting = NULL;
}

/* Read everything again that was read in the transaction that was rolled back. */
static void
read_again(Worker *worker)
{
	worker->schedule.due_position = DT_NOBEGIN;
	worker->moves++;
	if (worker->recovery.abandoned_before)
	{
		worker->recovery.abandoned = true;
		worker->recovery.rechecked_unlogged = false;
	}
	mirror_cache_invalidate(worker->cache);
	schedule_rescan(worker);
}

/*
 * The cause of an error
 */

/* Note a table to be set aside by the next claim, whose transaction can store that. */
static void
blame_table(Worker *worker, Oid relation)
{
	worker->recovery.blamed = relation;
	ereport(LOG,
			(errmsg("mixpeek_docs: error while the worker worked on table %u: %s",
					relation, worker->recovery.error)));
}

void
recovery_begin_claim(Worker *worker)
{
	Oid			relation = worker->recovery.blamed;

	worker->recovery.blamed = InvalidOid;
	if (OidIsValid(relation))
		aside_put(relation, CRASH_FAILED, "met an error (see the server's log) while it worked on");
}

/*
 * Handle an outcome that cannot be stored.  The first time its enrichments, or what the record's change
 * sets off, are taken for the cause, and the job fails without them; after that it waits.
 */
static void
blame_job(Worker *worker, Job *job)
{
	double		delay;

	if (job->troubles++ == 0)
	{
		job->outcome = OUTCOME_FAILED;
		worker->jobs.kept_bytes -= job_bytes_kept(job);
		job->enrichments = NULL;
		job->next_attempt_at = 0;
		job->error = MemoryContextStrdup(job->context,
										 psprintf("what came back could not be stored: %s", worker->recovery.error));
		return;
	}
	delay = Min(MAX_JOB_DELAY, ldexp(MIN_JOB_DELAY, Min(job->troubles - 2, 10)));
	job->settle_at = clock_seconds() + delay;
	ereport(LOG,
			(errmsg("mixpeek_docs: an outcome of table %u cannot be stored for %g s: %s",
					job->relation, delay, worker->recovery.error)));
}

/* Pause the whole worker. */
static void
pause_worker(Worker *worker, double seconds)
{
	worker->recovery.rest_until = clock_seconds() + seconds;
	ereport(LOG,
			(errmsg("mixpeek_docs: the worker goes on after an error in %g s: %s",
					seconds, worker->recovery.error),
			 worker->recovery.hint ? errhint("%s", worker->recovery.hint) : 0));
}

/* Check whether an error is one of the whole server, which all tables meet alike. */
static bool
is_servers_error(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_TRANSACTION_ROLLBACK:
			return sqlstate != ERRCODE_OUT_OF_MEMORY;
		default:
			return false;
	}
}

/* Find out what caused an error, and let that wait. */
static void
blame_cause(Worker *worker, int sqlstate)
{
	Oid			relation = worker->recovery.current_table;
	List	   *settling = worker->recovery.settling;
	bool		servers = is_servers_error(sqlstate) || extension_is_damaged();

	worker->recovery.current_table = InvalidOid;
	worker->recovery.settling = NIL;
	if (sqlstate == ERRCODE_QUERY_CANCELED)
		pause_worker(worker, CANCEL_REST);
	else if (!servers && list_length(settling) == 1)
		blame_job(worker, linitial(settling));
	else if (!servers && settling == NIL && OidIsValid(relation))
		blame_table(worker, relation);
	else
	{
		worker->recovery.careful_settles = list_length(settling);
		if (!servers)
			worker->recovery.careful_claims = CAREFUL_CLAIMS;
		worker->recovery.rest = Min(MAX_REST, Max(MIN_REST, worker->recovery.rest * 2));
		pause_worker(worker, worker->recovery.rest);
	}
}

void
recovery_note_success(Worker *worker)
{
	worker->recovery.rest = 0;
	worker->recovery.current_table = InvalidOid;
	worker->recovery.settling = NIL;
	worker->recovery.abandoned_before = false;
	worker->jobs.claim_committed = worker->jobs.claim;
	worker->transactions++;
}

void
recovery_work_on_many(Worker *worker)
{
	if (worker->recovery.careful_claims == 0)
		worker->recovery.current_table = InvalidOid;
}

/*
 * Running a part
 */

static char *
make_error_text(const ErrorData *edata)
{
	return edata->detail ? psprintf("%s: %s", edata->message, edata->detail) : edata->message;
}

/* Clean up after an error, as the main loop of a session does, and return its SQLSTATE. */
static int
clean_up_error(Worker *worker)
{
	ErrorData  *edata;

	HOLD_INTERRUPTS();
	MemoryContextReset(worker->recovery.context);
	MemoryContextSwitchTo(worker->recovery.context);
	edata = CopyErrorData();
	worker->recovery.error = make_error_text(edata);
	worker->recovery.hint = edata->hint;
	FlushErrorState();
	disable_all_timeouts(false);
	QueryCancelPending = false;
	LWLockReleaseAll();
	if (OidIsValid(crash_noted()))
		worker->recovery.current_table = crash_noted();
	crash_note_clear();
	pgstat_report_wait_end();
	AbortCurrentTransaction();
	lock_keep_reconciler();
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextSwitchTo(worker->turn_context);
	RESUME_INTERRUPTS();
	return edata->sqlerrcode;
}

static bool
run_part(Worker *worker, WorkerPart part, bool lightly)
{
	volatile bool failed = false;

	PG_TRY();
	{
		part(worker);
	}
	PG_CATCH();
	{
		int			sqlstate = clean_up_error(worker);

		failed = true;
		worker->recovery.had_error = true;
		if (lightly)
			worker->recovery.current_table = InvalidOid;	/* no table is blamed,
															 * neither now nor for
															 * the next error */
		else
		{
			forget_start(worker);
			recovery_place_jobs(worker);
			read_again(worker);
			blame_cause(worker, sqlstate);
		}
	}
	PG_END_TRY();
	MemoryContextSwitchTo(worker->turn_context);
	return !failed;
}

bool
recovery_run(Worker *worker, WorkerPart part)
{
	return run_part(worker, part, false);
}

bool
recovery_run_lightly(Worker *worker, WorkerPart part)
{
	return run_part(worker, part, true);
}
