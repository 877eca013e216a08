/*-------------------------------------------------------------------------
 *
 * recovery.c
 *		Errors that end a part of the worker's work, and not the worker.
 *
 * What other people's tables, answers and functions can go wrong with is kept from
 * becoming an error where it happens (guard.c, response.c).  This is for what comes
 * through all the same, and for what is nobody's fault: a disk that is full, memory that
 * is short, somebody who cancels the worker's statement.
 *
 * An error that a table is to blame for sets the table aside.  Where it is not known which
 * of several is, the next claims are of one key each, and the next outcomes are stored one
 * by one, until it shows.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <math.h>

#include "access/xact.h"
#include "base/clock.h"
#include "base/extension.h"
#include "base/lock.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "state/aside.h"
#include "storage/lwlock.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "worker/delegate.h"
#include "worker/recovery.h"

/* Seconds that the worker rests after an error that is nobody's, doubled each time; after a cancel. */
#define MIN_REST		1.0
#define MAX_REST		10.0
#define CANCEL_REST		0.1

/* Seconds that a job whose outcome cannot be stored rests, doubled each time. */
#define MIN_ASIDE		10.0
#define MAX_ASIDE		60.0

/* Claims of one key that follow an error that may be any of several tables'. */
#define CAREFUL_CLAIMS	256

/*
 * Where the jobs are
 */

/* Jobs in a queue stay there, but those that were not committed. */
static void
sort_queue(Worker *worker, dlist_head *queue, int *n)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, queue)
	{
		Job		   *job = dlist_container(Job, node, iter.cur);

		if (job->claim > worker->claims_done)
		{
			dlist_delete(iter.cur);
			(*n)--;
		}
		else
			job->queued = true;
	}
}

static void
end_lost_job(Worker *worker, Job *job)
{
	if (job->refresh)
	{
		job->must_look_up = false;
		worker_end_job(worker, job, OUTCOME_MIRRORED, NULL);
		return;
	}
	job->attempts--;
	job->next_attempt_at = clock_in(1000);
	worker_end_job(worker, job, OUTCOME_PENDING, NULL);
}

static void
place_job(Worker *worker, Job *job)
{
	bool		queued = job->queued;

	job->queued = false;
	if (job->claim > worker->claims_done && !job->delegated)
		worker_free_job(worker, job);
	else if (queued || job->under_way || job->delegated)
		return;
	else if (job->has_ended)	/* its outcome was not stored */
	{
		dlist_push_tail(&worker->ended, &job->node);
		worker->nended++;
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
			account->valid = false; /* it is half loaded */
	}
	sort_queue(worker, &worker->ended, &worker->nended);
	sort_queue(worker, &worker->to_write, &nto_write);
	if (worker->jobs == NULL)
		return;
	hash_seq_init(&status, worker->jobs);
	while ((entry = hash_seq_search(&status)) != NULL)
		place_job(worker, entry->job);
}

/* A request that could not be started was not sent. */
static void
forget_start(Worker *worker)
{
	if (worker->starting == NULL)
		return;
	throttle_not_begun(worker->starting);
	worker->running--;
	worker->starting = NULL;
}

/* All that was read in a transaction that came to nothing is read again. */
static void
look_at_all(Worker *worker)
{
	worker->due_position = DT_NOBEGIN;
	worker->moves++;
	worker->unrecovered = worker->unrecovered || worker->was_unrecovered;
	mirror_cache_invalidate(worker->cache);
	worker_look(worker);
}

/*
 * Who is to blame
 */

/*
 * The table is set aside, where its owner sees it, by the next claim: the transaction
 * of this one is no more.
 */
static void
blame_table(Worker *worker, Oid relation)
{
	worker->blamed = relation;
	ereport(LOG,
			(errmsg("mixpeek_docs: error while the worker worked on table %u: %s",
					relation, worker->error)));
}

void
recovery_begin_claim(Worker *worker)
{
	Oid			relation = worker->blamed;

	worker->blamed = InvalidOid;
	if (OidIsValid(relation))
		aside_put(relation, CRASH_FAILED, "met an error (see the server's log) while it worked on");
}

/* First its enrichments are to blame, or what its record's change sets off; then it waits. */
static void
blame_job(Worker *worker, Job *job)
{
	double		delay;

	if (job->troubles++ == 0)
	{
		job->outcome = OUTCOME_FAILED;
		worker->kept_bytes -= job_bytes_kept(job);
		job->enrichments = NULL;
		job->next_attempt_at = 0;
		job->error = MemoryContextStrdup(job->context,
										 psprintf("what came back could not be stored: %s", worker->error));
		return;
	}
	delay = Min(MAX_ASIDE, ldexp(MIN_ASIDE, Min(job->troubles - 2, 10)));
	job->settle_at = clock_seconds() + delay;
	ereport(LOG,
			(errmsg("mixpeek_docs: an outcome of table %u cannot be stored for %g s: %s",
					job->relation, delay, worker->error)));
}

static void
rest(Worker *worker, double seconds)
{
	worker->rest_until = clock_seconds() + seconds;
	ereport(LOG,
			(errmsg("mixpeek_docs: the worker goes on after an error in %g s: %s",
					seconds, worker->error),
			 worker->error_hint ? errhint("%s", worker->error_hint) : 0));
}

/* An error of the whole server, which comes to all tables alike. */
static bool
is_everybodys(int sqlstate)
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

static void
judge(Worker *worker, int sqlstate)
{
	Oid			relation = worker->working_on;
	List	   *settling = worker->settling;
	bool		everybodys = is_everybodys(sqlstate) || extension_is_damaged();

	worker->working_on = InvalidOid;
	worker->settling = NIL;
	if (sqlstate == ERRCODE_QUERY_CANCELED)
		rest(worker, CANCEL_REST);
	else if (!everybodys && list_length(settling) == 1)
		blame_job(worker, linitial(settling));
	else if (!everybodys && settling == NIL && OidIsValid(relation))
		blame_table(worker, relation);
	else
	{
		worker->careful_settles = list_length(settling);
		if (!everybodys)
			worker->careful_claims = CAREFUL_CLAIMS;
		worker->rest = Min(MAX_REST, Max(MIN_REST, worker->rest * 2));
		rest(worker, worker->rest);
	}
}

void
recovery_note_success(Worker *worker)
{
	worker->rest = 0;
	worker->working_on = InvalidOid;
	worker->settling = NIL;
	worker->was_unrecovered = false;
	worker->claims_done = worker->claims;
	worker->changes++;
}

/*
 * Going on
 */

static char *
error_text(const ErrorData *edata)
{
	return edata->detail ? psprintf("%s: %s", edata->message, edata->detail) : edata->message;
}

/* As the main loop of a session does. */
static int
clean_up(Worker *worker)
{
	ErrorData  *edata;

	HOLD_INTERRUPTS();
	MemoryContextReset(worker->error_context);
	MemoryContextSwitchTo(worker->error_context);
	edata = CopyErrorData();
	worker->error = error_text(edata);
	worker->error_hint = edata->hint;
	FlushErrorState();
	disable_all_timeouts(false);
	QueryCancelPending = false;
	LWLockReleaseAll();
	if (OidIsValid(crash_noted()))
		worker->working_on = crash_noted();
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
run(Worker *worker, WorkerPart part, bool lightly)
{
	volatile bool failed = false;

	PG_TRY();
	{
		part(worker);
	}
	PG_CATCH();
	{
		int			sqlstate = clean_up(worker);

		failed = true;
		worker->upset = true;
		if (lightly)
			worker->working_on = InvalidOid;	/* nobody is blamed, neither
												 * now nor for the next error */
		else
		{
			forget_start(worker);
			recovery_place_jobs(worker);
			look_at_all(worker);
			judge(worker, sqlstate);
		}
	}
	PG_END_TRY();
	MemoryContextSwitchTo(worker->turn_context);
	return !failed;
}

bool
recovery_run(Worker *worker, WorkerPart part)
{
	return run(worker, part, false);
}

bool
recovery_run_lightly(Worker *worker, WorkerPart part)
{
	return run(worker, part, true);
}
