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
 *		send	no transaction: requests as the server's limits allow (worker_send())
 *		collect no transaction: each answer changes what the job knows, and
 *				may call for another request (worker_collect(), job.c)
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
 * The reconciler is a background worker.  The loop that goes through the turns is in loop.c, and
 * what happens to an error in recovery.c.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "delegate.h"
#include "document.h"
#include "member.h"
#include "miscadmin.h"
#include "mb/pg_wchar.h"
#include "mixpeek_docs.h"
#include "pgstat.h"
#include "recovery.h"
#include "storage/lmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "worker.h"

/* Jobs whose table is locked are settled later, in seconds. */
#define LOCKED_DELAY	0.5

/* A job that needs more answers than this goes in circles. */
#define MAX_STEPS		8

/* Documents that a look-up asks for at once; the API's pages hold up to as many. */
#define LOOKUP_PAGE		1000

/* Keys to be looked up come due together, in microseconds, so that one request asks for many. */
#define LOOKUP_TICK		(USECS_PER_SEC / 2)

/* One request: of one job, or a look-up for several. */
typedef struct Request
{
	Connection *connection;
	JobStep		step;
	LimitsMark	mark;			/* of its connection's limits */
	bool		counted;		/* they know that it has ended */
	int			njobs;
	Job		   *jobs[FLEXIBLE_ARRAY_MEMBER];
} Request;

/*
 * Transactions
 */

void
worker_begin(Worker *worker, GuardState *guard)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, "mixpeek_docs: claim and settle");
	guard_enter(guard, BOOTSTRAP_SUPERUSERID);
}

/*
 * An intent must be on disk, and on the standby, before the request it speaks
 * of; what a crash takes back of an outcome is found out again.
 */
void
worker_commit(Worker *worker, const GuardState *guard, bool flush)
{
	guard_leave(guard);
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

	if (due != 0 && due < worker->due_position)
		worker->due_position = due;
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
	double		now = limits_now();
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
	if (worker->careful_settles == 0)
		worker->ended_at = limits_now() + LOCKED_DELAY; /* for those that stay */
	else if (jobs != NIL)
		worker->careful_settles--;
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
	GuardState	guard;
	List	   *settled;

	worker_begin(worker, &guard);
	MemoryContextSwitchTo(worker->turn_context);
	settled = settle(worker);
	worker_commit(worker, &guard, false);
	recovery_note_success(worker);
	delegate_send(worker);
	free_jobs(worker, settled);
	targets_sweep(worker->targets);
}

void
worker_claim_next(Worker *worker)
{
	GuardState	guard;

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

	job->next_attempt_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) (delay * 1000));
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

static char *
lookup_body(const Request *request, size_t *len)
{
	StringInfoData body;

	initStringInfo(&body);
	appendStringInfoString(&body, "{\"filters\":{\"AND\":[{\"field\":\"metadata." MARKER_FIELD
						   "\",\"operator\":\"in\",\"value\":[");
	for (int i = 0; i < request->njobs; i++)
	{
		if (i > 0)
			appendStringInfoChar(&body, ',');
		appendStringInfoString(&body, request->jobs[i]->marker_json);
	}
	appendStringInfoString(&body, "]}]}}");
	*len = body.len;
	return body.data;
}

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
	worker->starting = &connection->limits;
	http_start(worker->http, connection->server, method, path.data, body, len,
			   limits_at_once(&connection->limits), request);
	worker->starting = NULL;
	if (body)
		pfree(body);			/* it may be large, and libcurl has its own */
	for (int i = 0; i < request->njobs; i++)
		request->jobs[i]->under_way = true;
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

/* Sends what the limits allow. */
double
worker_send(Worker *worker)
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

static void
requeue(Job *job)
{
	job->under_way = false;
	dlist_push_head(&job->connection->ready, &job->node);
	job->connection->nready++;
}

static char *
response_text(const Response *response)
{
	if (response->detail)
		return psprintf("%s: %s", response->message, response->detail);
	return response->message;
}

/* How long the server might still be at work on a request given up, by us or by a gateway. */
static double
rest_after(const Job *job, const HttpAnswer *answer)
{
	double		timeout = job->connection->server ?
		job->connection->server->request_timeout / 1000.0 : 30.0;

	if (answer->end == HTTP_TIMED_OUT)
		return timeout;
	if (answer->end == HTTP_BROKEN || answer->end == HTTP_OUT_OF_MEMORY ||
		(answer->end == HTTP_ANSWERED && (answer->status == 502 || answer->status == 504)))
		return Max(0, timeout - answer->seconds);
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
	if (job->connection->limits.down && outage)
		put_off(worker, job, Max(rest_after(job, answer),
								 job->connection->limits.down_until - limits_now()),
				response_text(response));
	else if (job->attempts >= mixpeek_max_attempts)
	{
		tally_count(worker->tally, response->message, false);
		job->next_attempt_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														   (int64) (rest_after(job, answer) * 1000));
		worker_end_job(worker, job, OUTCOME_FAILED, response_text(response));
	}
	else
	{
		tally_count(worker->tally, response->message, true);
		set_next_attempt(job, Max(rest_after(job, answer), answer->retry_after));
		worker_end_job(worker, job, OUTCOME_PENDING, response_text(response));
	}
}

/* The answer counts: on to the next request, or to the end. */
static void
proceed(Worker *worker, Job *job)
{
	job->nsteps++;
	if (job_next_step(job) != JOB_END && job->nsteps < MAX_STEPS)
		requeue(job);
	else if (job_next_step(job) != JOB_END)
		worker_end_job(worker, job, OUTCOME_FAILED,
					   "the document vanishes again each time it is created");
	else if (job->document_id == NULL && !job->refresh)
		worker_end_job(worker, job, OUTCOME_FORGOTTEN, NULL);
	else
	{
		job->attempts = 0;
		worker_end_job(worker, job, OUTCOME_MIRRORED, NULL);
	}
}

/* 429: the limits know when it may go again. */
static void
slow_down(Worker *worker, Job *job, const Response *response)
{
	double		wait = job->connection->limits.blocked_until - limits_now();

	if (wait <= SYNC_PATIENCE)
	{
		requeue(job);
		return;
	}
	put_off_ready(worker, job->connection, wait, response_text(response));
	put_off(worker, job, wait, response_text(response));
}

static void
take_failure(Worker *worker, Job *job, JobStep step, const HttpAnswer *answer, const Response *response)
{
	if (response->verdict == VERDICT_SLOW_DOWN)
		slow_down(worker, job, response);
	else if (job->refresh)
		end_refresh(worker, job);
	else if (response->verdict == VERDICT_REFUSED || response->verdict == VERDICT_GONE)
	{
		tally_count(worker->tally, response->message, false);
		worker_end_job(worker, job, OUTCOME_FAILED, step == JOB_LOOK_UP ?
					   psprintf("could not ask for the document by its marker, so it was not created: %s",
								response_text(response)) :
					   response_text(response));
	}
	else
		postpone(worker, job, step, answer, response);
}

static void
collect_one(Worker *worker, Request *request, const HttpAnswer *answer, Response *response)
{
	Job		   *job = request->jobs[0];
	bool		gone = response->verdict == VERDICT_GONE && request->step != JOB_CREATE;

	if ((response->verdict == VERDICT_DONE || gone) && job_take_answer(job, request->step, response))
	{
		proceed(worker, job);
		return;
	}
	if (response->verdict == VERDICT_DONE)
	{
		response->verdict = VERDICT_UNSURE;
		response->message = "the API's answer holds no document_id";
	}
	take_failure(worker, job, request->step, answer, response);
}

static char *
document_marker(Jsonb *document)
{
	JsonbValue *metadata = member_find(&document->root, "metadata");

	if (metadata && metadata->type == jbvBinary)
	{
		char	   *marker = json_string(JsonbValueToJsonb(metadata), MARKER_FIELD);

		if (marker)
			return marker;
	}
	return json_string(document, MARKER_FIELD); /* 2026-02 may flatten metadata */
}

/* The documents of a list's answer, as a List of Jsonb; false if it is none. */
static bool
listed_documents(const Response *response, List **documents)
{
	JsonbContainer *results = response->json ? member_container(&response->json->root, "results") : NULL;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;

	*documents = NIL;
	if (results == NULL || !JsonContainerIsArray(results))
		return false;
	it = JsonbIteratorInit(results);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM && value.type == jbvBinary)
			*documents = lappend(*documents, JsonbValueToJsonb(&value));
	}
	return true;
}

static JsonbValue *
find_number_or_string(JsonbContainer *object, const char *field)
{
	JsonbValue *value = member_find(object, field);

	return value && (value->type == jbvNumeric || value->type == jbvString) ? value : NULL;
}

/* Is a list of n documents one page of several?  An empty one is none. */
static bool
is_page(const Response *response, int n)
{
	JsonbContainer *pagination = member_container(&response->json->root, "pagination");
	JsonbValue *total;

	if (n == 0 || pagination == NULL || !JsonContainerIsObject(pagination))
		return n >= LOOKUP_PAGE;
	total = find_number_or_string(pagination, "total");
	if (total && total->type == jbvNumeric)
		return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(total->val.numeric),
												 NumericGetDatum(int64_to_numeric(n)))) > 0;
	return find_number_or_string(pagination, "next_page") ||
		find_number_or_string(pagination, "next_cursor");
}

/*
 * Of several documents with one marker the job keeps the one it knows, else
 * the first.
 */
static Jsonb *
find_document(const Job *job, List *documents, List *markers)
{
	Jsonb	   *found = NULL;
	ListCell   *lc;
	ListCell   *lc2;

	forboth(lc, documents, lc2, markers)
	{
		char	   *id;

		if (lfirst(lc2) == NULL || strcmp(lfirst(lc2), job->marker) != 0)
			continue;
		id = json_document_id(lfirst(lc));
		if (id == NULL)
			continue;
		if (job->document_id && strcmp(id, job->document_id) == 0)
			return lfirst(lc);
		if (found == NULL)
			found = lfirst(lc);
	}
	return found;
}

/* A refusal of the look-up itself, not of who asks. */
static bool
cannot_filter(const HttpAnswer *answer, const Response *response)
{
	return (answer->status == 200 && response->verdict == VERDICT_REFUSED) || answer->status == 400 || answer->status == 405 || answer->status == 422;
}

/*
 * A look-up that is refused may have been too large, or ask for one marker that
 * the API does not like: smaller ones tell, unless not even the first of one key was
 * answered.
 */
static bool
split_lookup(Request *request, const HttpAnswer *answer, const Response *response)
{
	Connection *connection = request->connection;

	if (!cannot_filter(answer, response) && answer->status != 413)
		return false;
	if (request->njobs == 1)
	{
		connection->lookups_refused = !connection->lookups_work;
		if (connection->lookups_refused)
			connection->lookup_batch = LOOKUP_BATCH;
		return false;
	}
	if (connection->lookups_refused)
		return false;
	connection->lookup_batch = request->njobs / 2;
	for (int i = request->njobs - 1; i >= 0; i--)
		requeue(request->jobs[i]);
	return true;
}

static void
note_lookup_works(Connection *connection)
{
	connection->lookups_work = true;
	connection->lookups_refused = false;
	connection->lookup_batch = Min(LOOKUP_BATCH, connection->lookup_batch * 2);
}

static bool
is_asked_for(const Request *request, const char *marker)
{
	for (int i = 0; i < request->njobs; i++)
	{
		if (marker && strcmp(marker, request->jobs[i]->marker) == 0)
			return true;
	}
	return false;
}

/*
 * The documents that an answer lists, and their markers.  An answer that holds
 * others than were asked for says nothing of those that it does not hold: the API
 * knows no such filter.
 */
static void
read_lookup(const Request *request, Response *response, List **documents, List **markers)
{
	ListCell   *lc;

	*markers = NIL;
	if (!listed_documents(response, documents))
	{
		response->verdict = VERDICT_UNSURE;
		response->message = "the API's answer holds no list of documents";
		return;
	}
	foreach(lc, *documents)
	{
		char	   *marker = document_marker(lfirst(lc));

		if (!is_asked_for(request, marker))
		{
			response->verdict = VERDICT_REFUSED;
			response->message = "the API lists documents that were not asked for";
		}
		*markers = lappend(*markers, marker);
	}
}

/* Some of the jobs' documents may stand on another page. */
static void
look_up_again(Request *request, List *jobs)
{
	ListCell   *lc;

	request->connection->lookup_batch = Max(1, request->njobs / 2);
	foreach(lc, jobs)
		requeue(lfirst(lc));
}

static void
collect_lookup(Worker *worker, Request *request, const HttpAnswer *answer, Response *response)
{
	List	   *documents = NIL;
	List	   *markers = NIL;
	List	   *missing = NIL;

	if (response->verdict == VERDICT_DONE)
		read_lookup(request, response, &documents, &markers);
	if (response->verdict != VERDICT_DONE)
	{
		if (split_lookup(request, answer, response))
			return;
		/* too many at once may be what was wrong */
		if (response->verdict == VERDICT_UNSURE)
			request->connection->lookup_batch = Max(1, request->njobs / 2);
		for (int i = request->njobs - 1; i >= 0; i--)
		{
			if (cannot_filter(answer, response) && request->connection->server &&
				request->connection->server->create_unfindable)
			{
				job_take_document(request->jobs[i], NULL);
				proceed(worker, request->jobs[i]);
			}
			else
				take_failure(worker, request->jobs[i], JOB_LOOK_UP, answer, response);
		}
		return;
	}
	note_lookup_works(request->connection);
	for (int i = 0; i < request->njobs; i++)
	{
		Jsonb	   *document = find_document(request->jobs[i], documents, markers);

		if (document == NULL && request->njobs > 1 && is_page(response, list_length(documents)))
		{
			missing = lappend(missing, request->jobs[i]);
			continue;
		}
		job_take_document(request->jobs[i], document);
		proceed(worker, request->jobs[i]);
	}
	if (missing)
		look_up_again(request, missing);
}

/* One line when a server goes down, one when it is back. */
static void
log_change(const Connection *connection, LimitsChange change, const Response *response)
{
	if (change == LIMITS_WENT_DOWN)
		ereport(LOG,
				(errmsg("mixpeek_docs: server \"%s\" is not usable, its keys wait: %s",
						connection->name, response->message)));
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
	Response   *response = response_read(answer, request->step == JOB_LOOK_UP ? NULL : job_needs_no_member);
	LimitsChange change = limits_ended(&request->connection->limits, request->mark,
									   limits_now(), answer, response->verdict);

	request->counted = true;
	if (limits_is_outage(answer, response->verdict))
		note_setback(worker, request->connection, response_text(response));
	log_change(request->connection, change, response);
	if (change == LIMITS_WENT_DOWN)
		put_off_ready(worker, request->connection,
					  request->connection->limits.down_until - limits_now(),
					  response_text(response));
	if (request->step == JOB_LOOK_UP)
		collect_lookup(worker, request, answer, response);
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
	request->counted = true;
	for (int i = request->njobs - 1; i >= 0; i--)
	{
		if (limits->down || wait > SYNC_PATIENCE)
			put_off(worker, request->jobs[i], wait, request->connection->setback);
		else
			requeue(request->jobs[i]);
	}
}

/* Texts in other encodings than UTF-8 need the catalog to be converted. */
static void
collect_transfer(Worker *worker)
{
	Request    *request = http_transfer_owner(worker->collecting);
	const HttpAnswer *answer = http_transfer_answer(worker->collecting);
	bool		transaction = GetDatabaseEncoding() != PG_UTF8;

	if (transaction)
		StartTransactionCommand();
	MemoryContextSwitchTo(worker->turn_context);
	if (answer->end == HTTP_NOT_BEGUN)
		take_back(worker, request);
	else
		collect_answer(worker, request, answer);
	if (transaction)
		CommitTransactionCommand();
}

/* An error was raised over an answer: it counts as one that cannot be read. */
static void
give_up_answer(Worker *worker)
{
	Request    *request = http_transfer_owner(worker->collecting);
	const HttpAnswer *answer = http_transfer_answer(worker->collecting);
	Response	response = {.verdict = VERDICT_UNSURE, .message = "the API's answer could not be read"};

	response.detail = worker->error;
	if (!request->counted)
		(void) limits_ended(&request->connection->limits, request->mark, limits_now(), answer, response.verdict);
	request->counted = true;
	for (int i = 0; i < request->njobs; i++)
	{
		if (request->jobs[i]->under_way)
			take_failure(worker, request->jobs[i], request->step, answer, &response);
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
	}
}
