/*-------------------------------------------------------------------------
 *
 * worker.c
 *		The reconciler: makes the API's documents match the rows.
 *
 * A dirty key's way, turn by turn:
 *
 *		claim	short transaction: keys leave the outbox, their rows are read
 *				and rendered; where the API was last told the same there is
 *				nothing to do; for the others the intent goes into
 *				mixpeek.documents and is flushed before a byte is sent (claim.c).
 *				Rows whose reading calls functions of others are read by agents of
 *				their owners, and their keys claimed again with the answer (delegate.c)
 *		send	no transaction: requests as the server's limits allow (worker_send())
 *		collect no transaction: each answer changes what the job knows, and
 *				may call for another request (worker_collect(), job.c)
 *		write	by agents, where the row has columns for what came back
 *		settle	short transaction: what became of the key (settle())
 *
 * What makes this safe against a crash at any point:
 *
 * - A key is in the outbox, or its record in mixpeek.documents is "sending" or
 *   "pending": both are committed in one transaction, so it is never in neither.
 *   Records that a dead worker left as "sending" become "pending".
 * - Only one reconciler works on a database (a session lock), and it has one
 *   job a key (Worker.jobs): no two requests for a key are under way at once.
 *   A key that becomes dirty while its job is under way stays in the outbox.
 * - A record that might have caused a create is in_doubt until the API has
 *   answered or a look-up by marker has found out.  A request that ended without
 *   an answer might still be at work on the other side, so its key rests for
 *   request_timeout before it is looked at again.
 *
 * The reconciler is a background worker.  The loop that goes through the turns is in loop.c, and
 * what happens to an error in recovery.c.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <math.h>

#include "access/xact.h"
#include "base/clock.h"
#include "base/settings.h"
#include "catalog/pg_authid.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "remote/url.h"
#include "state/aside.h"
#include "state/documents.h"
#include "storage/lmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/delegate.h"
#include "worker/lookup.h"
#include "worker/recovery.h"
#include "worker/worker.h"

/* Jobs whose table is locked are settled later, in seconds. */
#define LOCKED_DELAY	0.5

/* A job that needs more answers than this goes in circles. */
#define MAX_STEPS		8

/* Keys to be looked up come due together, in microseconds, so that one request asks for many. */
#define LOOKUP_TICK		(USECS_PER_SEC / 2)


/*
 * Transactions
 */

void
worker_begin(Worker *worker, UserState *guard)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, "mixpeek_docs: claim and settle");
	user_switch(guard, BOOTSTRAP_SUPERUSERID);
}

/*
 * An intent must be on disk, and on the standby, before the request it speaks
 * of; what a crash takes back of an outcome is found out again.
 */
void
worker_commit(Worker *worker, const UserState *guard, bool flush)
{
	user_restore(guard);
	flush = flush && !WEAKENED(WEAKEN_INTENT_FLUSH);
	if (flush ? synchronous_commit < SYNCHRONOUS_COMMIT_ON : synchronous_commit > SYNCHRONOUS_COMMIT_OFF)
		(void) set_config_option("synchronous_commit", flush ? "on" : "off", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	CommitTransactionCommand();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextSwitchTo(worker->turn_context);
}

/*
 * Settle
 */

/* The wait must end when the first of the settled keys is due again. */
static void
note_due(Worker *worker, const Job *job)
{
	TimestampTz due = job->outcome == OUTCOME_FAILED ? 0 : document_due(job);

	if (due != 0)
		worker->walk.due_again = Min(worker->walk.due_again, due < worker->due_position ? due : DT_NOEND);
	if (due != 0 && worker->next_due != -1 &&
		(worker->next_due == 0 || due < worker->next_due))
		worker->next_due = due;
}

/*
 * Stores what became of the jobs that ended, but those whose table somebody
 * holds a lock on: a DROP in progress deletes the same records.
 */
static List *
settle(Worker *worker)
{
	List	   *jobs = NIL;
	double		now = clock_seconds();
	dlist_mutable_iter iter;
	ListCell   *lc;

	dlist_foreach_modify(iter, &worker->ended)
	{
		Job		   *job = dlist_container(Job, node, iter.cur);

		if (worker->careful_settles > 0 && jobs != NIL)
			break;
		if (job->settle_at > now || !ConditionalLockRelationOid(job->relation, AccessShareLock))
			continue;
		dlist_delete(iter.cur);
		worker->nended--;
		jobs = lappend(jobs, job);
	}
	worker->settling = jobs;
	document_settle(jobs);
	foreach(lc, jobs)
		note_due(worker, lfirst(lc));
	if (jobs == NIL)
		worker->careful_settles = 0;
	if (worker->careful_settles > 0)
		worker->careful_settles--;
	else
		worker->ended_at = clock_seconds() + LOCKED_DELAY;	/* for those that stay */
	return jobs;
}

static void
free_jobs(Worker *worker, List *jobs)
{
	ListCell   *lc;

	foreach(lc, jobs)
		worker_free_job(worker, lfirst(lc));
	/* what was left because it was under way */
	if (jobs != NIL && worker->skipped)
	{
		worker->skipped = false;
		worker_look_busy(worker);
	}
}

/*
 * Transactions for the outcomes that wait, and for the next keys.  Not one for both:
 * between the two, answers are taken and requests sent.
 */
void
worker_settle_ended(Worker *worker)
{
	UserState	guard;
	List	   *settled;

	worker_begin(worker, &guard);
	MemoryContextSwitchTo(worker->turn_context);
	settled = settle(worker);
	worker_commit(worker, &guard, false);
	recovery_note_success(worker);
	delegate_send(worker);
	free_jobs(worker, settled);
	mirror_cache_sweep(worker->cache);
}

void
worker_claim_next(Worker *worker)
{
	UserState	guard;

	worker->intends = false;
	worker->claims++;
	worker->was_unrecovered = worker->unrecovered;
	worker_begin(worker, &guard);
	MemoryContextSwitchTo(worker->turn_context);
	worker_claim(worker);
	worker_commit(worker, &guard, worker->intends);
	recovery_note_success(worker);
	if (worker->careful_claims > 0)
		worker->careful_claims--;
	delegate_send(worker);
	mirror_cache_sweep(worker->cache);
}

void
worker_recall(Worker *worker)
{
	UserState	guard;

	worker_begin(worker, &guard);
	aside_recall();
	worker_commit(worker, &guard, true);
}

/*
 * Keys that must wait
 */

/* Exponential with full jitter; at least as long as the other side may work. */
static void
set_next_attempt(Job *job, double rest)
{
	double		cap = Min(mixpeek_retry_max_delay, ldexp(1.0, Min(job->attempts - 1, 20)));
	double		delay = cap * (0.1 + 0.9 * COMPAT_RANDOM());

	delay = Max(delay, rest);	/* Max() takes one of its arguments twice, and
								 * that is no place for chance */
	job->next_attempt_at = clock_in((int64) (delay * 1000));
	if (job->in_doubt || job->must_look_up)
		job->next_attempt_at += LOOKUP_TICK - job->next_attempt_at % LOOKUP_TICK;
}

/* A refresh that does not work out is not worth an error. */
static void
end_refresh(Worker *worker, Job *job)
{
	job->must_look_up = false;
	worker_end_job(worker, job, OUTCOME_MIRRORED, NULL);
}

/* The key waits for its server, which costs no attempt. */
static void
put_off(Worker *worker, Job *job, double rest, const char *error)
{
	if (job->refresh)
	{
		end_refresh(worker, job);
		return;
	}
	job->attempts--;
	set_next_attempt(job, rest);
	worker_end_job(worker, job, OUTCOME_PENDING, error);
}

/* So do those that were ready to be sent, that everybody can see why. */
static void
put_off_ready(Worker *worker, Account *account, double rest, const char *error)
{
	while (!dlist_is_empty(&account->ready))
	{
		Job		   *job = dlist_container(Job, node, dlist_pop_head_node(&account->ready));

		account->nready--;
		put_off(worker, job, rest, error);
	}
}

/*
 * Send
 */

static void
start_request(Worker *worker, Request *request)
{
	Job		   *job = request->jobs[0];
	Account    *account = request->account;
	HttpMethod	method = HTTP_POST;
	StringInfoData path;
	char	   *body = NULL;
	size_t		len = 0;

	initStringInfo(&path);
	appendStringInfoString(&path, job->path);
	if (request->step == JOB_LOOK_UP)
	{
		appendStringInfo(&path, "/list?limit=%d", LOOKUP_PAGE);
		body = lookup_body(request, &len);
	}
	else if (request->step != JOB_CREATE)
	{
		method = request->step == JOB_DELETE ? HTTP_DELETE : HTTP_PUT;
		appendStringInfoChar(&path, '/');
		url_append_escaped(&path, job->document_id);
	}
	if (request->step == JOB_CREATE || request->step == JOB_UPDATE)
		body = job_body(job, request->step, &len);

	request->mark = throttle_started(&account->throttle);
	worker->running++;
	worker->starting = &account->throttle;
	http_start(worker->http, account->server, method, path.data, body, len,
			   throttle_at_once(&account->throttle), request);
	worker->starting = NULL;
	if (body)
		pfree(body);			/* it may be large, and libcurl has its own */
	for (int i = 0; i < request->njobs; i++)
		request->jobs[i]->under_way = true;
}

/* Takes the queue's first job, and for a look-up others that go along. */
static Request *
next_request(Worker *worker, Account *account)
{
	Job		   *first = dlist_head_element(Job, node, &account->ready);
	JobStep		step = job_next_step(first);
	int			max = step == JOB_LOOK_UP ? account->lookup_batch : 1;
	Request    *request = MemoryContextAllocZero(worker->context,
												 offsetof(Request, jobs) + sizeof(Job *) * max);
	dlist_mutable_iter iter;

	request->account = account;
	request->step = step;
	dlist_foreach_modify(iter, &account->ready)
	{
		Job		   *job = dlist_container(Job, node, iter.cur);

		if (request->njobs == max)
			break;
		if (job_next_step(job) != step || strcmp(job->path, first->path) != 0)
			continue;
		dlist_delete(iter.cur);
		account->nready--;
		request->jobs[request->njobs++] = job;
	}
	return request;
}

/* Sends what the limits allow. */
double
worker_send(Worker *worker)
{
	double		delay = -1;
	ListCell   *lc;

	foreach(lc, worker->cache->accounts)
	{
		Account    *account = lfirst(lc);

		if (account->server == NULL && !dlist_is_empty(&account->ready))
		{
			account_report_problem(account);
			put_off_ready(worker, account, RETRY_PROBLEM, account->problem);
		}
		while (!dlist_is_empty(&account->ready))
		{
			double		d = throttle_delay(&account->throttle, clock_seconds());

			if (d > 0 && (delay < 0 || d < delay))
				delay = d;
			if (d != 0)
				break;
			start_request(worker, next_request(worker, account));
		}
	}
	return delay;
}

/*
 * Collect
 */

void
worker_requeue(Job *job)
{
	job->under_way = false;
	dlist_push_head(&job->account->ready, &job->node);
	job->account->nready++;
}

static char *
response_text(const Response *response)
{
	return response->detail ? psprintf("%s: %s", response->message, response->detail) : response->message;
}

/*
 * How long the server might still be at work on a request given up, by us or by a gateway: it may
 * have got it just before.
 */
static double
rest_after(const Job *job, const HttpAnswer *answer)
{
	double		timeout = job->account->server ?
		job->account->server->request_timeout / 1000.0 : 30.0;

	return status_has(answer, STATUS_MAY_CONTINUE) ? timeout : 0;
}

/* Not done, or perhaps done: the key is looked at again. */
static void
postpone(Worker *worker, Job *job, JobStep step, const HttpAnswer *answer, const Response *response)
{
	bool		outage = throttle_is_outage(answer, response->verdict);

	if (response->verdict == VERDICT_UNSURE && step == JOB_CREATE)
	{
		job->in_doubt = true;
		job->intent_content = job->content_hash;
		job->intent_features = job->features_hash;
	}
	/* after a delete the document may be gone: an update will tell */
	if (response->verdict == VERDICT_UNSURE && (step == JOB_UPDATE || step == JOB_DELETE))
		job->sent_content.known = false;
	if (throttle_is_ours(answer))
		put_off(worker, job, rest_after(job, answer), response_text(response)); /* others took what we
																				 * have */
	else if (job->account->throttle.down && outage)
		put_off(worker, job, Max(rest_after(job, answer),
								 job->account->throttle.down_until - clock_seconds()),
				response_text(response));
	else if (job->attempts >= mixpeek_max_attempts)
	{
		failure_log_count(worker->failure_log, response->reason, false);
		job->next_attempt_at = clock_in((int64) (rest_after(job, answer) * 1000));
		worker_end_job(worker, job, OUTCOME_FAILED, response_text(response));
	}
	else
	{
		failure_log_count(worker->failure_log, response->reason, true);
		set_next_attempt(job, Max(rest_after(job, answer), answer->retry_after));
		worker_end_job(worker, job, OUTCOME_PENDING, response_text(response));
	}
}

/* The answer counts: on to the next request, or to the end. */
void
worker_proceed(Worker *worker, Job *job)
{
	job->nsteps++;
	if (job_next_step(job) != JOB_END && job->nsteps < MAX_STEPS)
		worker_requeue(job);
	else if (job_next_step(job) != JOB_END)
		worker_end_job(worker, job, OUTCOME_FAILED,
					   "the document vanishes again each time it is created");
	else if (job->document_id == NULL && !job->refresh)
		worker_end_job(worker, job, OUTCOME_FORGOTTEN, NULL);
	else
	{
		job->attempts = 0;
		worker_end_job(worker, job, OUTCOME_MIRRORED, job->unkept);
	}
}

/* Enrichments wait in memory until they are stored: too many come with the next look at their documents. */
static void
count_kept(Worker *worker, Job *job, size_t before)
{
	worker->kept_bytes += job_bytes_kept(job) - before;
	if (worker->kept_bytes <= MAX_KEPT_BYTES || job->enrichments == NULL)
		return;
	worker->kept_bytes -= job_bytes_kept(job);
	pfree(job->enrichments);
	job->enrichments = NULL;
}

void
worker_take_document(Worker *worker, Job *job, const AnswerDocument *document)
{
	size_t		before = job_bytes_kept(job);

	job_take_document(job, document);
	count_kept(worker, job, before);
	worker_proceed(worker, job);
}

/* 429: the limits know when it may go again. */
static void
slow_down(Worker *worker, Job *job, const Response *response)
{
	double		wait = job->account->throttle.blocked_until - clock_seconds();

	if (wait <= SYNC_PATIENCE)
	{
		worker_requeue(job);
		return;
	}
	put_off_ready(worker, job->account, wait, response_text(response));
	put_off(worker, job, wait, response_text(response));
}

void
worker_take_failure(Worker *worker, Job *job, JobStep step, const HttpAnswer *answer, const Response *response)
{
	if (response->verdict == VERDICT_SLOW_DOWN)
		slow_down(worker, job, response);
	else if (job->refresh)
		end_refresh(worker, job);
	else if (response->verdict == VERDICT_REFUSED || response->verdict == VERDICT_GONE)
	{
		failure_log_count(worker->failure_log, response->reason, false);
		worker_end_job(worker, job, OUTCOME_FAILED, step == JOB_LOOK_UP ?
					   psprintf("could not ask for the document by its marker, so it was not created: %s",
								response_text(response)) :
					   response_text(response));
	}
	else
		postpone(worker, job, step, answer, response);
}

/* Reads a success' answer; false, and what is wrong with it, if it is none. */
static bool
read_document(const Request *request, const HttpAnswer *answer, Response *response, AnswerDocument *document)
{
	const Mirror *mirror = request->jobs[0]->mirror;
	List	   *sent = mirror && mirror->template ? mirror->template->names : NIL;
	const char *wrong;

	if (answer->status == 204)
		return true;
	if (!answer_is_utf8(answer))
		response_reject_unreadable(response, answer, "it is not UTF-8");
	else if (!answer_document(answer->body, answer->body + answer->body_len, sent, document, &wrong))
		response_reject_unreadable(response, answer, response_describe_wrong(answer, wrong));
	else
		return true;
	return false;
}

static void
collect_one(Worker *worker, Request *request, const HttpAnswer *answer, Response *response)
{
	Job		   *job = request->jobs[0];
	size_t		before = job_bytes_kept(job);
	AnswerDocument document = {0};
	bool		gone = response->verdict == VERDICT_GONE && request->step != JOB_CREATE;
	bool		read = gone ||
		(response->verdict == VERDICT_DONE && read_document(request, answer, response, &document));

	if (read && job_take_answer(job, request->step, response->verdict, &document))
	{
		count_kept(worker, job, before);
		worker_proceed(worker, job);
		return;
	}
	if (read)
		response_reject(response, VERDICT_UNSURE, "the API's answer holds no document_id");
	worker_take_failure(worker, job, request->step, answer, response);
}

/* One record when a server goes down, one when it is back. */
static void
log_change(const Account *account, ThrottleChange change, const Response *response)
{
	if (change == THROTTLE_WENT_DOWN)
		ereport(LOG,
				(errmsg("mixpeek_docs: server \"%s\" is not usable, its keys wait: %s",
						account->name, response->reason)));
	else if (change == THROTTLE_CAME_BACK)
		ereport(LOG,
				(errmsg("mixpeek_docs: server \"%s\" answers again", account->name)));
}

static void
note_setback(Worker *worker, Account *account, const char *text)
{
	if (account->setback)
		pfree(account->setback);
	account->setback = MemoryContextStrdup(worker->context, text);
}

static void
collect_answer(Worker *worker, Request *request, const HttpAnswer *answer)
{
	Response   *response = response_read(answer, RESPONSE_UNREAD);
	ThrottleChange change = throttle_ended(&request->account->throttle, request->mark,
										   clock_seconds(), answer, response->verdict);

	request->counted = true;
	if (throttle_is_outage(answer, response->verdict))
		note_setback(worker, request->account, response_text(response));
	log_change(request->account, change, response);
	if (change == THROTTLE_WENT_DOWN)
		put_off_ready(worker, request->account,
					  request->account->throttle.down_until - clock_seconds(),
					  response_text(response));
	if (request->step == JOB_LOOK_UP)
		lookup_collect(worker, request, answer, response);
	else
		collect_one(worker, request, answer, response);
}

/* It was not begun since others before it ended badly: it goes again, or waits as what was ready then does. */
static void
take_back(Worker *worker, Request *request)
{
	Throttle   *throttle = &request->account->throttle;
	double		wait = (throttle->down ? throttle->down_until : throttle->blocked_until) - clock_seconds();

	throttle_not_begun(throttle);
	request->counted = true;
	for (int i = request->njobs - 1; i >= 0; i--)
	{
		if (throttle->down || wait > SYNC_PATIENCE)
			put_off(worker, request->jobs[i], wait, request->account->setback);
		else
			worker_requeue(request->jobs[i]);
	}
}

/* Texts in other encodings than UTF-8 need the catalog to be converted. */
static void
collect_transfer(Worker *worker)
{
	Request    *request = http_transfer_owner(worker->collecting);
	const HttpAnswer *answer = http_transfer_answer(worker->collecting);
	bool		transaction = GetDatabaseEncoding() != PG_UTF8;

	crash_note(request->jobs[0]->relation);
	if (transaction)
		StartTransactionCommand();
	MemoryContextSwitchTo(worker->answer_context);
	if (answer->end == HTTP_NOT_BEGUN)
		take_back(worker, request);
	else
		collect_answer(worker, request, answer);
	crash_note_clear();
	if (transaction)
		CommitTransactionCommand();
}

/* An error was raised over an answer: it counts as one that cannot be read. */
static void
give_up_answer(Worker *worker)
{
	Request    *request = http_transfer_owner(worker->collecting);
	const HttpAnswer *answer = http_transfer_answer(worker->collecting);
	Response	response = {.verdict = VERDICT_UNSURE,.message = "the API's answer could not be read",
	.reason = "an answer could not be read"};

	response.detail = worker->error;
	if (!request->counted)
		(void) throttle_ended(&request->account->throttle, request->mark, clock_seconds(), answer, response.verdict);
	request->counted = true;
	for (int i = 0; i < request->njobs; i++)
	{
		if (request->jobs[i]->under_way)
			worker_take_failure(worker, request->jobs[i], request->step, answer, &response);
	}
}

/* What is left of a request after two errors. */
static void
drop_request(Worker *worker)
{
	Request    *request = http_transfer_owner(worker->collecting);

	for (int i = 0; i < request->njobs; i++)
		request->jobs[i]->under_way = false;
}

void
worker_collect(Worker *worker)
{
	HttpTransfer *transfer;

	/*
	 * those whose enrichments have come are settled first, where these are
	 * many
	 */
	while ((transfer = http_next_ended(worker->http)) != NULL)
	{
		Request    *request = http_transfer_owner(transfer);

		worker->collecting = transfer;
		worker->running--;
		if (!recovery_run_lightly(worker, collect_transfer) && !recovery_run_lightly(worker, give_up_answer))
		{
			drop_request(worker);
			recovery_place_jobs(worker);
		}
		http_transfer_free(transfer);
		pfree(request);
		MemoryContextReset(worker->answer_context);
		if (worker->kept_bytes > FULL_KEPT_BYTES)
			break;
	}
	MemoryContextSwitchTo(worker->turn_context);
}
