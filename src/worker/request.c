/*-------------------------------------------------------------------------
 *
 * request.c
 *		Requests of jobs: sent as their accounts allow, and their answers.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xact.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/encoding.h"
#include "mb/pg_wchar.h"
#include "remote/answer.h"
#include "remote/response.h"
#include "remote/url.h"
#include "utils/memutils.h"
#include "worker/inventory.h"
#include "worker/lookup.h"
#include "worker/outcome.h"
#include "worker/request.h"
#include "worker/worker.h"

/*
 * Kinds of requests
 */

/*
 * A kind has a method; what follows the path of the collection's documents; a body in UTF-8 (NULL:
 * none); how many jobs may go together (NULL: one); and a function that takes the answer.
 */
typedef struct RequestKind
{
	HttpMethod	method;
	void		(*append_path) (StringInfo path, const Job *job, JobStep step);
	char	   *(*body) (const Request *request, size_t *len);
	int			(*max_jobs) (const Account *account);
	void		(*collect) (Worker *worker, Request *request, const HttpAnswer *answer, Response *response);
} RequestKind;

static void
append_document_id(StringInfo path, const Job *job, JobStep step)
{
	appendStringInfoChar(path, '/');
	url_append_escaped(path, encoding_to_utf8(job_target(job, step)));
}

static char *
document_body(const Request *request, size_t *len)
{
	return job_body(request->jobs[0], request->step, len);
}

static void collect_one(Worker *worker, Request *request, const HttpAnswer *answer, Response *response);

static const RequestKind request_kinds[] = {
	[JOB_LOOK_UP] = {HTTP_POST, lookup_append_path, lookup_body, lookup_max_jobs, lookup_collect},
	[JOB_GET] = {HTTP_GET, append_document_id, NULL, NULL, collect_one},
	[JOB_DELETE] = {HTTP_DELETE, append_document_id, NULL, NULL, collect_one},
	[JOB_CREATE] = {HTTP_POST, NULL, document_body, NULL, collect_one},
	[JOB_UPDATE] = {HTTP_PUT, append_document_id, document_body, NULL, collect_one},
	[JOB_LIST] = {HTTP_POST, inventory_append_path, inventory_body, NULL, inventory_collect},
};

/*
 * Sending
 */

/* Start a request.  Its body is freed at once: it may be large, and libcurl has a copy. */
static void
start_request(Worker *worker, Request *request)
{
	const RequestKind *kind = &request_kinds[request->step];
	Throttle   *throttle = &request->account->throttle;
	StringInfoData path;
	char	   *body = NULL;
	size_t		len = 0;

	initStringInfo(&path);
	appendStringInfoString(&path, request->jobs[0]->path);
	if (kind->append_path)
		kind->append_path(&path, request->jobs[0], request->step);
	if (kind->body)
		body = kind->body(request, &len);
	request->mark = throttle_started(throttle);
	worker->requests.running++;
	worker->requests.starting = throttle;
	http_start(worker->http, request->account->server, kind->method, path.data, body, len,
			   throttle_at_once(throttle), request);
	worker->requests.starting = NULL;
	if (body)
		pfree(body);
	for (int i = 0; i < request->njobs; i++)
		request->jobs[i]->under_way = true;
}

/*
 * Check whether the account's server was altered since the job was claimed, and leads elsewhere
 * now.
 */
static bool
leads_elsewhere(const Account *account, const Job *job)
{
	return job->place != account->server->place;
}

/* Put off the first job of the queue if its request would go elsewhere than it was meant to. */
static bool
put_off_altered(Worker *worker, Account *account)
{
	Job		   *job = dlist_head_element(Job, node, &account->ready);

	if (!leads_elsewhere(account, job))
		return false;
	dlist_delete(&job->node);
	account->nready--;
	outcome_put_off(worker, job, 0, "the server was altered");
	return true;
}

/* Take the first job out of the queue, with others whose next request can be the same one. */
static Request *
next_request(Worker *worker, Account *account)
{
	Job		   *first = dlist_head_element(Job, node, &account->ready);
	JobStep		step = job_next_step(first);
	int			max = request_kinds[step].max_jobs ? request_kinds[step].max_jobs(account) : 1;
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
		if (job_next_step(job) != step || strcmp(job->path, first->path) != 0 || leads_elsewhere(account, job))
			continue;
		dlist_delete(iter.cur);
		account->nready--;
		request->jobs[request->njobs++] = job;
	}
	return request;
}

double
request_send_ready(Worker *worker)
{
	double		delay = -1;
	ListCell   *lc;

	foreach(lc, worker->cache->accounts)
	{
		Account    *account = lfirst(lc);

		if (account->server == NULL && !dlist_is_empty(&account->ready))
		{
			account_report_problem(account);
			outcome_put_off_ready(worker, account, RETRY_PROBLEM, account->problem);
		}
		while (!dlist_is_empty(&account->ready))
		{
			double		d = throttle_delay(&account->throttle, clock_seconds());

			if (d > 0 && (delay < 0 || d < delay))
				delay = d;
			if (d != 0)
				break;
			if (put_off_altered(worker, account))
				continue;
			start_request(worker, next_request(worker, account));
		}
	}
	return delay;
}

void
request_requeue(Job *job)
{
	job->under_way = false;
	dlist_push_head(&job->account->ready, &job->node);
	job->account->nready++;
}

/*
 * Collecting
 */

SentNames
request_sent_names(const Job *job)
{
	const Template *template = job->mirror ? job->mirror->template : NULL;

	return (SentNames)
	{
		.names = template ? template->names : NIL,
			.all_metadata = template && !template->metadata_is_column,
			.fields = job->fields
	};
}

/*
 * Read the document of a success' answer.  Returns false, and makes the response say what is
 * wrong, if there is none to read.
 */
static bool
read_document(const Request *request, const HttpAnswer *answer, Response *response, AnswerDocument *document)
{
	const Job  *job = request->jobs[0];
	SentNames	sent = request_sent_names(job);
	const char *wrong;

	if (answer->status == 204)
		return true;
	if (!answer_is_utf8(answer))
		response_reject_unreadable(response, answer, "it is not UTF-8");
	else if (!answer_document(answer->body, answer->body + answer->body_len, &sent, document, &wrong))
		response_reject_unreadable(response, answer, response_describe_wrong(answer, wrong));
	else
		return true;
	return false;
}

/* Take the answer to a request of one job. */
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
		jobs_count_kept(worker, job, before);
		if (job->stale_stays)
			jobs_end(worker, job, OUTCOME_FAILED, "the API keeps names in metadata that the row does not have any more");
		else if (request->step == JOB_UPDATE && response->verdict == VERDICT_DONE && job_has_old_fields(job))
			outcome_replace_next(worker, job);
		else
			outcome_proceed(worker, job);
		return;
	}
	if (read)
		response_reject(response, VERDICT_UNSURE, "the API's answer holds no document_id");
	outcome_take_failure(worker, job, request->step, answer, response);
}

/* Log once that a server is down, and once that it answers again. */
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

/* Remember what an answer said that stopped the account's other requests. */
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
	if (status_has(answer, STATUS_OUTAGE))
		note_setback(worker, request->account, outcome_text(response));
	log_change(request->account, change, response);
	if (change == THROTTLE_WENT_DOWN)
		outcome_put_off_ready(worker, request->account,
							  request->account->throttle.down_until - clock_seconds(),
							  outcome_text(response));
	request_kinds[request->step].collect(worker, request, answer, response);
}

/*
 * Handle a request that the HTTP client returned unsent because an earlier request to the same
 * server failed.  Requeue its jobs, or put them off if the server is down, or blocked for longer
 * than SYNC_PATIENCE.
 */
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
			outcome_put_off(worker, request->jobs[i], wait, request->account->setback);
		else
			request_requeue(request->jobs[i]);
	}
}

/*
 * Take the answer of a transfer that has ended.  Text is converted from UTF-8 with the catalog's help.
 */
static void
collect_transfer(Worker *worker)
{
	Request    *request = http_transfer_owner(worker->requests.collecting);
	const HttpAnswer *answer = http_transfer_answer(worker->requests.collecting);
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

/* Handle an answer that raised an error as one that cannot be read. */
static void
give_up_answer(Worker *worker)
{
	Request    *request = http_transfer_owner(worker->requests.collecting);
	const HttpAnswer *answer = http_transfer_answer(worker->requests.collecting);
	Response	response = {.verdict = VERDICT_UNSURE,.message = "the API's answer could not be read",
	.reason = "an answer could not be read"};

	response.detail = worker->recovery.error;
	if (!request->counted)
		(void) throttle_ended(&request->account->throttle, request->mark, clock_seconds(), answer, response.verdict);
	request->counted = true;
	for (int i = 0; i < request->njobs; i++)
	{
		if (request->jobs[i]->under_way)
			outcome_take_failure(worker, request->jobs[i], request->step, answer, &response);
	}
}

/* Let go of the jobs of a request whose answer has raised two errors. */
static void
drop_request(Worker *worker)
{
	Request    *request = http_transfer_owner(worker->requests.collecting);

	for (int i = 0; i < request->njobs; i++)
		request->jobs[i]->under_way = false;
}

void
request_collect(Worker *worker)
{
	HttpTransfer *transfer;

	while ((transfer = http_next_ended(worker->http)) != NULL)
	{
		Request    *request = http_transfer_owner(transfer);

		worker->requests.collecting = transfer;
		worker->requests.running--;
		if (!recovery_run_lightly(worker, collect_transfer) && !recovery_run_lightly(worker, give_up_answer))
		{
			drop_request(worker);
			recovery_place_jobs(worker);
		}
		http_transfer_free(transfer);
		pfree(request);
		MemoryContextReset(worker->answer_context);
		if (worker->jobs.kept_bytes > FULL_KEPT_BYTES)
			break;				/* settle first, which frees them */
	}
	MemoryContextSwitchTo(worker->turn_context);
}
