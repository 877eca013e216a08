/*-------------------------------------------------------------------------
 *
 * worker.c
 *		The reconciler: makes the API's documents match the rows.
 *
 * A dirty key's way, turn by turn:
 *
 *		claim	short transaction: keys leave the outbox, their rows are read as
 *				the table's owner and rendered; where the API was last told the
 *				same there is nothing to do; for the others the intent goes into
 *				mixpeek.documents and is flushed before a byte is sent (claim.c)
 *		send	no transaction: requests as the server's limits allow (send())
 *		collect no transaction: each answer changes what the job knows, and
 *				may call for another request (collect(), job.c)
 *		settle	short transaction: what became of the key (settle())
 *
 * What makes this safe against a crash at any point:
 *
 * - A key is in the outbox, or its line in mixpeek.documents is "sending" or
 *   "pending": both are committed in one transaction, so it is never in neither.
 *   Lines that a dead worker left as "sending" become "pending".
 * - Only one reconciler works on a database (a session lock), and it has one
 *   job a key (Worker.jobs): no two requests for a key are under way at once.
 *   A key that becomes dirty while its job is under way stays in the outbox.
 * - A line that might have caused a create is in_doubt until the API has
 *   answered or a look-up by marker has found out.  A request that ended without
 *   an answer might still be at work on the other side, so its key rests for
 *   request_timeout before it is looked at again.
 *
 * The reconciler runs as a background worker, or in the session that calls
 * mixpeek.sync(); begin() and commit() are the only places that differ.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <math.h>

#include "access/transam.h"
#include "access/xact.h"
#include "aside.h"
#include "catalog/pg_authid.h"
#include "clock.h"
#include "commands/extension.h"
#include "delegate.h"
#include "document.h"
#include "executor/spi.h"
#include "lookup.h"
#include "miscadmin.h"
#include "mb/pg_wchar.h"
#include "mixpeek_docs.h"
#include "origin.h"
#include "outbox.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "shmem.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(mixpeek_sync);
PG_FUNCTION_INFO_V1(mixpeek_wait);

/* Settle when so many jobs have ended, or the first of them this long ago. */
#define SETTLE_JOBS		64
#define SETTLE_DELAY	0.01

/* Jobs whose table is locked are settled later, in seconds. */
#define LOCKED_DELAY	0.5

/* Bytes that a turn keeps for the next one. */
#define TURN_SIZE		(512 * 1024)

/* Bytes of enrichments that wait to be settled: when it is time for that, and the most. */
#define FULL_KEPT_BYTES	(4 * 1024 * 1024)
#define MAX_KEPT_BYTES	(16 * 1024 * 1024)

/* A job that needs more answers than this goes in circles. */
#define MAX_STEPS		8

/* Keys to be looked up come due together, in microseconds, so that one request asks for many. */
#define LOOKUP_TICK		(USECS_PER_SEC / 2)

/* mixpeek.sync() waits for keys that are due within so many seconds. */
#define SYNC_PATIENCE	5

/* and for locked tables, when nothing else is left, so many. */
#define SYNC_LOCK_PATIENCE	1

/*
 * Transactions
 */

static void
begin(Worker *worker, GuardState *guard)
{
	if (!worker->in_session)
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		pgstat_report_activity(STATE_RUNNING, "mixpeek_docs: claim and settle");
	}
	guard_enter(guard, BOOTSTRAP_SUPERUSERID);
}

/*
 * An intent must be on disk, and on the standby, before the request it speaks
 * of; what a crash takes back of an outcome is found out again.
 */
static void
commit(Worker *worker, const GuardState *guard, bool flush)
{
	guard_leave(guard);
	flush = flush && !WEAKENED(WEAKEN_INTENT_FLUSH);
	if (flush ? synchronous_commit < SYNCHRONOUS_COMMIT_ON : synchronous_commit > SYNCHRONOUS_COMMIT_OFF)
		(void) set_config_option("synchronous_commit", flush ? "on" : "off", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	if (worker->in_session)
		SPI_commit();
	else
	{
		CommitTransactionCommand();
		pgstat_report_stat(false);
		pgstat_report_activity(STATE_IDLE, NULL);
	}
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
 * holds a lock on: a DROP in progress deletes the same lines.
 */
static List *
settle(Worker *worker)
{
	List	   *jobs = NIL;
	List	   *settled = NIL;
	dlist_mutable_iter iter;
	ListCell   *lc;

	dlist_foreach_modify(iter, &worker->ended)
	{
		Job		   *job = dlist_container(Job, node, iter.cur);

		if (!ConditionalLockRelationOid(job->relation, AccessShareLock))
			continue;
		dlist_delete(iter.cur);
		worker->nended--;
		jobs = lappend(jobs, job);
	}
	document_settle(jobs);
	foreach(lc, jobs)
		note_due(worker, lfirst(lc));
	settled = jobs;
	worker->ended_at = limits_now() + LOCKED_DELAY;	/* for those that stay */
	return settled;
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
 * A transaction for the outcomes that wait, or for the next keys.  Not one for both:
 * between the two, answers are taken and requests sent.
 */
static void
settle_or_claim(Worker *worker, bool claim)
{
	GuardState	guard;
	List	   *settled = NIL;

	worker->intends = false;
	begin(worker, &guard);
	MemoryContextSwitchTo(worker->turn_context);
	if (claim)
		worker_claim(worker);
	else
		settled = settle(worker);
	commit(worker, &guard, worker->intends);
	delegate_send(worker);
	free_jobs(worker, settled);
	targets_sweep(worker->targets);
}

/*
 * Keys that must wait
 */

/* Exponential with full jitter; at least as long as the other side may work. */
static void
set_next_attempt(Job *job, double rest)
{
	double		cap = Min(mixpeek_retry_max_delay, ldexp(1.0, Min(job->attempts - 1, 20)));
	double		delay = Max(cap * (0.1 + 0.9 * COMPAT_RANDOM()), rest);

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
put_off_ready(Worker *worker, Connection *connection, double rest, const char *error)
{
	while (!dlist_is_empty(&connection->ready))
	{
		Job		   *job = dlist_container(Job, node, dlist_pop_head_node(&connection->ready));

		connection->nready--;
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
	Connection *connection = request->connection;
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
		http_append_escaped(&path, job->document_id);
	}
	if (request->step == JOB_CREATE || request->step == JOB_UPDATE)
		body = job_body(job, request->step, &len);

	request->mark = limits_started(&connection->limits);
	worker->running++;
	http_start(worker->http, connection->server, method, path.data, body, len,
			   limits_at_once(&connection->limits), request);
	if (body)
		pfree(body);			/* it may be large, and libcurl has its own */
}

/* Takes the queue's first job, and for a look-up others that go along. */
static Request *
next_request(Worker *worker, Connection *connection)
{
	Job		   *first = dlist_head_element(Job, node, &connection->ready);
	JobStep		step = job_next_step(first);
	int			max = step == JOB_LOOK_UP ? connection->lookup_batch : 1;
	Request    *request = MemoryContextAllocZero(worker->context,
												 offsetof(Request, jobs) + sizeof(Job *) * max);
	dlist_mutable_iter iter;

	request->connection = connection;
	request->step = step;
	dlist_foreach_modify(iter, &connection->ready)
	{
		Job		   *job = dlist_container(Job, node, iter.cur);

		if (request->njobs == max)
			break;
		if (job_next_step(job) != step || strcmp(job->path, first->path) != 0)
			continue;
		dlist_delete(iter.cur);
		connection->nready--;
		request->jobs[request->njobs++] = job;
	}
	return request;
}

/* Sends what the limits allow; returns seconds until more may go, or -1. */
static double
send_ready(Worker *worker)
{
	double		delay = -1;
	ListCell   *lc;

	foreach(lc, worker->targets->connections)
	{
		Connection *connection = lfirst(lc);

		if (connection->server == NULL && !dlist_is_empty(&connection->ready))
		{
			connection_report_problem(connection);
			put_off_ready(worker, connection, RETRY_PROBLEM, connection->problem);
		}
		while (!dlist_is_empty(&connection->ready))
		{
			double		d = limits_delay(&connection->limits, limits_now());

			if (d > 0 && (delay < 0 || d < delay))
				delay = d;
			if (d != 0)
				break;
			start_request(worker, next_request(worker, connection));
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
	dlist_push_head(&job->connection->ready, &job->node);
	job->connection->nready++;
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
	double		timeout = job->connection->server ?
		job->connection->server->request_timeout / 1000.0 : 30.0;

	if (answer->end == HTTP_TIMED_OUT || answer->end == HTTP_BROKEN || answer->end == HTTP_NO_ROOM ||
		answer->end == HTTP_OUT_OF_MEMORY ||
		(answer->end == HTTP_ANSWERED && (answer->status == 502 || answer->status == 504)))
		return timeout;
	return 0;
}

/* Not done, or perhaps done: the key is looked at again. */
static void
postpone(Worker *worker, Job *job, JobStep step, const HttpAnswer *answer, const Response *response)
{
	bool		outage = limits_is_outage(answer, response->verdict);

	if (response->verdict == VERDICT_UNSURE && step == JOB_CREATE)
	{
		job->in_doubt = true;
		job->intent_content = job->content_hash;
		job->intent_features = job->features_hash;
	}
	/* after a delete the document may be gone: an update will tell */
	if (response->verdict == VERDICT_UNSURE && (step == JOB_UPDATE || step == JOB_DELETE))
		job->told_content.known = false;
	if (limits_is_ours(answer))
		put_off(worker, job, rest_after(job, answer), response_text(response));	/* others took what we have */
	else if (job->connection->limits.down && outage)
		put_off(worker, job, Max(rest_after(job, answer),
								 job->connection->limits.down_until - limits_now()),
				response_text(response));
	else if (job->attempts >= mixpeek_max_attempts)
	{
		tally_count(worker->tally, response->reason, false);
		job->next_attempt_at = clock_in((int64) (rest_after(job, answer) * 1000));
		worker_end_job(worker, job, OUTCOME_FAILED, response_text(response));
	}
	else
	{
		tally_count(worker->tally, response->reason, true);
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
	double		wait = job->connection->limits.blocked_until - limits_now();

	if (wait <= SYNC_PATIENCE)
	{
		worker_requeue(job);
		return;
	}
	put_off_ready(worker, job->connection, wait, response_text(response));
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
		tally_count(worker->tally, response->reason, false);
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
		response_unreadable(response, answer, "it is not UTF-8");
	else if (!answer_document(answer->body, answer->body + answer->body_len, sent, document, &wrong))
		response_unreadable(response, answer, response_wrong_at(answer, wrong));
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
	{
		response->verdict = VERDICT_UNSURE;
		response->reason = response->message = "the API's answer holds no document_id";
	}
	worker_take_failure(worker, job, request->step, answer, response);
}

/* One line when a server goes down, one when it is back. */
static void
log_change(const Connection *connection, LimitsChange change, const Response *response)
{
	if (change == LIMITS_WENT_DOWN)
		ereport(LOG,
				(errmsg("mixpeek_docs: server \"%s\" is not usable, its keys wait: %s",
						connection->name, response->reason)));
	else if (change == LIMITS_CAME_BACK)
		ereport(LOG,
				(errmsg("mixpeek_docs: server \"%s\" answers again", connection->name)));
}

static void
note_setback(Worker *worker, Connection *connection, const char *text)
{
	if (connection->setback)
		pfree(connection->setback);
	connection->setback = MemoryContextStrdup(worker->context, text);
}

static void
collect_answer(Worker *worker, Request *request, const HttpAnswer *answer)
{
	Response   *response = response_read(answer, false);
	LimitsChange change = limits_ended(&request->connection->limits, request->mark,
									   limits_now(), answer, response->verdict);

	if (limits_is_outage(answer, response->verdict))
		note_setback(worker, request->connection, response_text(response));
	log_change(request->connection, change, response);
	if (change == LIMITS_WENT_DOWN)
		put_off_ready(worker, request->connection,
					  request->connection->limits.down_until - limits_now(),
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
	Limits	   *limits = &request->connection->limits;
	double		wait = (limits->down ? limits->down_until : limits->blocked_until) - limits_now();

	limits_not_begun(limits);
	for (int i = request->njobs - 1; i >= 0; i--)
	{
		if (limits->down || wait > SYNC_PATIENCE)
			put_off(worker, request->jobs[i], wait, request->connection->setback);
		else
			worker_requeue(request->jobs[i]);
	}
}

static void
collect_transfer(Worker *worker, HttpTransfer *transfer)
{
	Request    *request = http_transfer_owner(transfer);
	const HttpAnswer *answer = http_transfer_answer(transfer);

	worker->running--;
	crash_note(request->jobs[0]->relation);
	if (answer->end == HTTP_NOT_BEGUN)
		take_back(worker, request);
	else
		collect_answer(worker, request, answer);
	crash_note_clear();
	http_transfer_free(transfer);
	pfree(request);
}

/* Texts in other encodings than UTF-8 need the catalog to be converted. */
static void
collect(Worker *worker)
{
	HttpTransfer *transfer = http_next_ended(worker->http);
	bool		transaction = transfer != NULL && !worker->in_session &&
		GetDatabaseEncoding() != PG_UTF8;

	if (transaction)
		StartTransactionCommand();
	MemoryContextSwitchTo(worker->answer_context);
	while (transfer)
	{
		collect_transfer(worker, transfer);
		MemoryContextReset(worker->answer_context);
		if (worker->kept_bytes > FULL_KEPT_BYTES)
			break;				/* they are settled first */
		transfer = http_next_ended(worker->http);
	}
	if (transaction)
		CommitTransactionCommand();
	MemoryContextSwitchTo(worker->turn_context);
}

/*
 * The loop
 */

static bool
settle_now(const Worker *worker, double now)
{
	if (worker->nended == 0 || now < worker->ended_at)
		return false;
	return worker->nended >= SETTLE_JOBS || worker->nended == worker->njobs ||
		worker->kept_bytes > FULL_KEPT_BYTES ||
		now - worker->ended_at >= SETTLE_DELAY;
}

static void
wait_at_most(double *wait, double delay)
{
	if (*wait < 0 || delay < *wait)
		*wait = Max(delay, 0);
}

/* Seconds until a turn has something to do without being woken, or -1. */
static double
time_to_next_turn(Worker *worker, double until_send)
{
	double		now = limits_now();
	double		wait = until_send;
	double		until_walk;
	ListCell   *lc;

	double		agents = agents_wait(worker->agents);

	if (worker_may_claim(worker))
		return 0;
	if (agents >= 0)
		wait_at_most(&wait, agents);
	if (worker->nended > 0)
		wait_at_most(&wait, Max(worker->ended_at - now, 0) + SETTLE_DELAY);
	if (worker_is_paused(worker))
		return wait;
	until_walk = walk_delay(worker, now);
	if (until_walk >= 0)
		wait_at_most(&wait, until_walk);
	if (worker->skipped_until > 0)
		wait_at_most(&wait, worker->skipped_until - now);
	if (worker_is_due(worker))
		wait_at_most(&wait, worker->pass_due_by_at - now);
	else if (worker->next_due > 0)
		wait_at_most(&wait, (worker->next_due - clock_now()) / 1000000.0);
	foreach(lc, worker->targets->connections)
	{
		Connection *connection = lfirst(lc);
		double		delay = connection->server == NULL ? connection->retry_at - now :
			limits_delay(&connection->limits, now);

		if (connection->excluded && delay > 0)
			wait_at_most(&wait, delay);
	}
	return wait;
}

/* One turn up to the wait; returns how long to wait in milliseconds, or -1. */
static long
turn(Worker *worker)
{
	double		now = limits_now();
	double		wait;
	double		log_in;
	bool		settle;

	MemoryContextReset(worker->turn_context);
	MemoryContextSwitchTo(worker->turn_context);
	delegate_turn(worker);
	worker_look_skipped(worker, now);
	worker_look_excluded(worker);
	settle = settle_now(worker, now);
	if (settle || worker_may_claim(worker))
	{
		(void) send_ready(worker);	/* the server is not to wait for our transaction */
		http_push(worker->http);
		settle_or_claim(worker, !settle);
	}
	delegate_turn(worker);
	wait = time_to_next_turn(worker, send_ready(worker));
	log_in = tally_log(worker->tally, now, worker->njobs == 0 && wait != 0);
	if (log_in >= 0)
		wait_at_most(&wait, log_in);
	return wait < 0 ? -1 : (long) ceil(wait * 1000);
}

static Worker *
create_worker(MemoryContext parent, bool in_session)
{
	MemoryContext context = AllocSetContextCreate(parent, "mixpeek worker", ALLOCSET_DEFAULT_SIZES);
	Worker	   *worker = MemoryContextAllocZero(context, sizeof(Worker));
	MemoryContext old = MemoryContextSwitchTo(context);

	worker->context = context;
	worker->turn_context = AllocSetContextCreate(context, "mixpeek turn", TURN_SIZE, TURN_SIZE,
												 ALLOCSET_DEFAULT_MAXSIZE);
	worker->answer_context = AllocSetContextCreate(context, "mixpeek answer", ALLOCSET_DEFAULT_SIZES);
	worker->in_session = in_session;
	worker->http = http_client_create(!in_session);
	worker->targets = targets_create(context);
	worker->agents = agents_create(context);
	dlist_init(&worker->to_write);
	worker->tally = tally_create();
	worker->due_position = DT_NOBEGIN;
	worker->unrecovered = true;
	walk_init(worker);
	worker_look(worker);
	dlist_init(&worker->ended);
	MemoryContextSwitchTo(old);
	return worker;
}

/* What the one before it was doing when it died is not done at once. */
static void
recall_crash(Worker *worker)
{
	GuardState	guard;

	crash_open(MyDatabaseId, CRASH_WORKER);
	begin(worker, &guard);
	aside_recall();
	commit(worker, &guard, true);
	crash_recalled();
}

/*
 * One reconciler a database: the worker, or the session that calls sync().
 */
static bool
lock_database(bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0x6d697870, 0x65656b, 3);
	return LockAcquire(&tag, ExclusiveLock, true, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

static void
unlock_database(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0x6d697870, 0x65656b, 3);
	LockRelease(&tag, ExclusiveLock, true);
}

/*
 * The background worker
 */

static bool
extension_exists(void)
{
	bool		exists;

	StartTransactionCommand();
	exists = OidIsValid(get_extension_oid("mixpeek_docs", true));
	CommitTransactionCommand();
	return exists;
}

/* The latch is a hint, which whatever waits may take; what it stood for is still there. */
static bool
is_woken(void)
{
	return MyLatch->is_set || ConfigReloadPending || InterruptPending || shmem_is_woken();
}

/* Interrupts, settings, and whether the extension is still there. */
static bool
take_signals(Worker *worker)
{
	bool		settings = ConfigReloadPending;

	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (settings)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	worker_look_round(worker, shmem_take_wake(), settings);
	return extension_exists();
}

/* A copy of a database waits until somebody says what it is. */
static void
report_copy(Worker *worker)
{
	if (worker->copy_of && !worker->copy_reported)
		ereport(LOG,
				(errmsg("mixpeek_docs: nothing is mirrored: %s", worker->copy_of),
				 errhint("%s", origin_hint)));
	worker->copy_reported = worker->copy_of != NULL;
}

/* It is looked at again with the next claim. */
static void
forget_copy(Worker *worker)
{
	if (worker->copy_of)
		pfree(worker->copy_of);
	worker->copy_of = NULL;
}

static void
run_worker(void)
{
	Worker	   *worker = create_worker(TopMemoryContext, false);

	recall_crash(worker);
	for (;;)
	{
		long		timeout;

		timeout = turn(worker);
		report_copy(worker);
		http_wait(worker->http, is_woken() ? 0 : timeout, COMPAT_WAIT_EVENT);
		if (is_woken())
		{
			if (!take_signals(worker))
				return;
			forget_copy(worker);
		}
		collect(worker);
	}
}

/* A database's or role's settings are meant for its clients. */
void
worker_override_settings(void)
{
	static const struct
	{
		const char *name;
		const char *value;
	}			settings[] =
	{
		{"default_transaction_read_only", "off"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_deferrable", "off"},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
#if PG_VERSION_NUM >= 170000
		{"transaction_timeout", "0"},
#endif
	};

	for (int i = 0; i < (int) lengthof(settings); i++)
		SetConfigOption(settings[i].name, settings[i].value, PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * Entry point; the argument is the database's oid.  Ends when the database has no
 * extension (any more), at SIGTERM, or with an error; the launcher decides whether
 * to start another.
 */
void
mixpeek_worker_main(Datum main_arg)
{
	Oid			database = DatumGetObjectId(main_arg);

	pqsignal(SIGTERM, crash_die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	if (!shmem_attach_worker(database))
		proc_exit(0);
	COMPAT_GIVE_MEMORY_BACK();
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	worker_override_settings();
	if (extension_exists())
	{
		StartTransactionCommand();
		lock_database(true);
		CommitTransactionCommand();
		run_worker();
	}
	shmem_report_absent(database);
	proc_exit(0);
}

/*
 * mixpeek.sync()
 */

static bool
sync_is_done(const Worker *worker)
{
	if (worker->njobs > 0 || worker->look || worker->next_due == -1 || delegate_is_busy(worker))
		return false;
	return worker->next_due == 0 ||
		worker->next_due > clock_in(SYNC_PATIENCE * 1000);
}

static void
check_origin(const char *problem)
{
	if (problem)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("nothing is mirrored: %s", problem),
				 errhint("%s", origin_hint)));
}

/* What sync() could not do, for whoever called it. */
static void
report_problems(const Worker *worker)
{
	ListCell   *lc;

	foreach(lc, worker->targets->connections)
	{
		Connection *connection = lfirst(lc);

		if (connection->problem)
			ereport(WARNING, (errmsg("nothing was sent: %s", connection->problem)));
	}
	if (worker->skipped_until > 0)
		ereport(NOTICE,
				(errmsg("some changes were left for the next mixpeek.sync()"),
				 errdetail("Their tables are locked, or cannot be read.")));
}

static void
run_sync(Worker *worker)
{
	double		patience_ends = 0;

	recall_crash(worker);
	while (true)
	{
		long		timeout = turn(worker);

		check_origin(worker->copy_of);
		if (!sync_is_done(worker))
			patience_ends = 0;
		else if (worker->skipped_until == 0)
			break;
		else if (patience_ends == 0)
			patience_ends = limits_now() + SYNC_LOCK_PATIENCE;
		else if (limits_now() >= patience_ends)
			break;
		if (patience_ends > 0 && (timeout < 0 || timeout > SYNC_LOCK_PATIENCE * 1000))
			timeout = SYNC_LOCK_PATIENCE * 1000;
		http_wait(worker->http, timeout, COMPAT_WAIT_EVENT);
		if (MyLatch->is_set)
			ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		collect(worker);
	}
	report_problems(worker);
}

/* False where somebody else does the work. */
static bool
try_sync(void)
{
	if (!lock_database(false))
		return false;
	PG_TRY();
	{
		run_sync(create_worker(CurrentMemoryContext, true));
	}
	PG_FINALLY();
	{
		crash_note_clear();
		unlock_database();
	}
	PG_END_TRY();
	return true;
}

/* For all that was committed before begin_wait(). */
typedef struct Wait
{
	TimestampTz started;
	TransactionId xmax;
	ItemPointerData position;	/* in the outbox, of one that is not done */
	Unfinished *unfinished;		/* once the outbox holds nothing of it any more */
	long		delay;
} Wait;

static void
begin_wait(Wait *wait)
{
	GuardState	guard;
	char	   *problem;
	char	   *id;

	guard_enter(&guard, BOOTSTRAP_SUPERUSERID);
	problem = origin_problem(&id);
	guard_leave(&guard);
	check_origin(problem);
	wait->started = GetCurrentTimestamp();
	wait->xmax = ReadNextTransactionId();
	ItemPointerSet(&wait->position, 0, 0);
	wait->unfinished = NULL;
	wait->delay = 1;
}

static bool
wait_is_over(Wait *wait)
{
	GuardState	guard;
	bool		done;

	guard_enter(&guard, BOOTSTRAP_SUPERUSERID);
	if (wait->unfinished == NULL)
	{
		PushActiveSnapshot(GetLatestSnapshot());
		if (!outbox_any_before(wait->xmax, &wait->position))
			wait->unfinished = document_unfinished();
		PopActiveSnapshot();
	}
	done = wait->unfinished && document_all_finished(wait->unfinished);
	guard_leave(&guard);
	return done;
}

/* Sleeps for a moment, longer each time; false when the deadline has passed. */
static bool
sleep_until(TimestampTz deadline, long *delay)
{
	if (GetCurrentTimestamp() >= deadline)
		return false;
	*delay = Min(*delay * 2, 50);
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 *delay, COMPAT_WAIT_EVENT);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	return true;
}

/*
 * CALL mixpeek.sync(): the worker's work in this session.  Returns when nothing is
 * left that is due within some seconds.  Raises
 * ERRCODE_INVALID_TRANSACTION_TERMINATION inside a transaction block.
 */
Datum
mixpeek_sync(PG_FUNCTION_ARGS)
{
	bool		atomic = !(fcinfo->context && IsA(fcinfo->context, CallContext) &&
						   !castNode(CallContext, fcinfo->context)->atomic);

	if (atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("mixpeek.sync() cannot run inside a transaction block"),
				 errdetail("It commits between its steps.")));
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	if (!try_sync())
	{
		Wait		wait;

		ereport(NOTICE, (errmsg("a worker mirrors this database: waiting for it")));
		begin_wait(&wait);
		/* a session that leaves before all is done leaves the rest to this one */
		while (!wait_is_over(&wait) && !try_sync())
			(void) sleep_until(DT_NOEND, &wait.delay);
	}
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * mixpeek.wait()
 */

/* Waiting for nobody would be for ever. */
static void
check_somebody_works(TimestampTz started)
{
	if (shmem_worker_runs(MyDatabaseId))
		return;
	if (!lock_database(false))
		return;					/* a session syncs */
	unlock_database();
	if (shmem_available() &&
		!TimestampDifferenceExceeds(started, GetCurrentTimestamp(), 10000))
		return;					/* the worker is on its way */
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("no worker mirrors this database"),
			 shmem_available() ?
			 errhint("See the server's log for why it could not be started.") :
			 errhint("Add mixpeek_docs to shared_preload_libraries, or CALL mixpeek.sync().")));
}

/*
 * mixpeek.wait(timeout interval): true when everything that was committed
 * before the call is mirrored or failed, false after the timeout (NULL: none).
 * Raises ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if nobody does the work.
 */
Datum
mixpeek_wait(PG_FUNCTION_ARGS)
{
	TimestampTz deadline = DT_NOEND;
	Wait		wait;

	if (!PG_ARGISNULL(0))
		deadline = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
														   TimestampTzGetDatum(GetCurrentTimestamp()),
														   PG_GETARG_DATUM(0)));
	begin_wait(&wait);
	while (!wait_is_over(&wait))
	{
		check_somebody_works(wait.started);
		if (!sleep_until(deadline, &wait.delay))
			PG_RETURN_BOOL(false);
	}
	PG_RETURN_BOOL(true);
}
