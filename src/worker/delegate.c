/*-------------------------------------------------------------------------
 *
 * delegate.c
 *		The part of the worker's work that agents do.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/clock.h"
#include "base/settings.h"
#include "state/documents.h"
#include "utils/memutils.h"
#include "worker/agents.h"
#include "worker/claim.h"
#include "worker/delegate.h"
#include "worker/expansion.h"
#include "worker/prepare.h"
#include "worker/rendering.h"
#include "worker/schedule.h"
#include "worker/worker.h"

/* Most write-backs of one request, and bytes of their enrichments. */
#define MAX_WRITE_BACKS			64
#define MAX_WRITE_BACK_BYTES	(1024 * 1024)

/* Seconds until a mirror is tried again of which an agent has compiled another version than the worker. */
#define CHANGED_DELAY			0.1

/*
 * Most polls that a missed write-back counts: it makes a minute the longest delay, see
 * poll_delays in documents.c.
 */
#define MAX_MISSED_POLLS		4

/* Why a write-back was not tried. */
#define NO_SLOT_PROBLEM	"no background worker slot is free for the owner's functions (see max_worker_processes)"
#define REST_PROBLEM	"the owner's functions took too long the last time; it will be tried again"

/*
 * Reading and listing: requests
 */

bool
delegate_is_served(Worker *worker, const CachedMirror *cached, bool wanted)
{
	const Mirror *mirror = cached->mirror;

	if (mirror == NULL || mirror->native || mirror->problem)
		return true;
	if (wanted ? agents_make_room(worker->agents, mirror->owner) : agents_may_serve(worker->agents, mirror->owner))
		return true;
	if (agents_rest_left(worker->agents, mirror->owner) > 0)
		schedule_retry_in(worker, agents_rest_left(worker->agents, mirror->owner));
	return false;
}

static void
keep_request(Worker *worker, AgentRequest *request)
{
	MemoryContext old = MemoryContextSwitchTo(worker->context);

	worker->delegation.requests = lappend(worker->delegation.requests, request);
	MemoryContextSwitchTo(old);
}

/* Return this claim's request for a mirror's rows. */
static AgentRequest *
find_or_create_read(Worker *worker, Job *job)
{
	AgentRequest *request;
	ListCell   *lc;

	foreach(lc, worker->delegation.requests)
	{
		request = lfirst(lc);
		if (request->task == AGENT_READ && request->mirror == job->mirror)
			return request;
	}
	request = agent_request_create(worker->context, AGENT_READ, job->mirror, job->collection);
	keep_request(worker, request);
	return request;
}

static void
add_read(Worker *worker, Job *job)
{
	AgentRequest *request = find_or_create_read(worker, job);
	MemoryContext old;
	List	   *entries = NIL;
	ListCell   *lc;

	if (request->njobs >= agents_max_jobs(worker->agents, request->owner))
	{
		claim_leave_job(worker, job, false);
		return;
	}
	old = MemoryContextSwitchTo(request->context);
	foreach(lc, job->entries)
		entries = lappend(entries, outbox_copy_entry(lfirst(lc)));
	job->entries = entries;
	agent_request_add_job(request, job);
	MemoryContextSwitchTo(old);
}

List *
delegate_reads(Worker *worker, List *jobs)
{
	List	   *others = NIL;
	ListCell   *lc;

	foreach(lc, jobs)
	{
		Job		   *job = lfirst(lc);

		if (prepare_needs_row(job) && !job->mirror->native && !job->read)
			add_read(worker, job);
		else
			others = lappend(others, job);
	}
	return others;
}

void
delegate_scan(Worker *worker, CachedMirror *cached, const OutboxEntry *entry, int limit)
{
	AgentRequest *request = agent_request_create(worker->context, AGENT_SCAN, cached->mirror, entry->collection);
	MemoryContext old = MemoryContextSwitchTo(request->context);

	request->expansion = outbox_copy_entry(entry);
	request->limit = limit;
	MemoryContextSwitchTo(old);
	keep_request(worker, request);
}

bool
delegate_is_listing(const Worker *worker, OutboxEntry *entry)
{
	ListCell   *lc;

	foreach(lc, worker->delegation.requests)
	{
		const AgentRequest *request = lfirst(lc);

		if (request->task == AGENT_SCAN && request->expansion->xmin == entry->xmin &&
			ItemPointerEquals(&request->expansion->tid, &entry->tid))
			return true;
	}
	return false;
}

void
delegate_send(Worker *worker)
{
	while (worker->delegation.requests != NIL)
	{
		agents_send(worker->agents, linitial(worker->delegation.requests));
		/* one by one, so that an error leaves those that are not sent */
		worker->delegation.requests = list_delete_first(worker->delegation.requests);
	}
}

/*
 * Reading and listing: results
 */

/* Check whether the mirror is still the one that the request was made for.  If so, its table is locked. */
static bool
is_mirror_unchanged(Worker *worker, const AgentRequest *request)
{
	CachedMirror *cached = mirror_cache_get(worker->cache, request->relation, request->collection);

	if (request->end == AGENT_CHANGED)
		cached->blocked_until = clock_seconds() + CHANGED_DELAY;
	else if (request->end == AGENT_LOCKED)
		cached->blocked_until = clock_seconds() + LOCK_DELAY;
	if (cached->blocked_until > 0)
	{
		schedule_retry_in(worker, cached->blocked_until - clock_seconds());
		return false;
	}
	return cached->mirror == request->mirror;
}

/*
 * Check whether the request has a result for its jobs.  If the agent died, it has one only for
 * a single job, because it is not known which of several rows was the cause.
 */
static bool
has_result(const AgentRequest *request)
{
	return request->end == AGENT_DONE || request->end == AGENT_FAILED ||
		(request->end == AGENT_DIED && (request->task == AGENT_SCAN || request->njobs == 1));
}

static void
take_read(Worker *worker, AgentRequest *request, DelegateJobFunction on_job, void *arg)
{
	bool		usable = has_result(request) && is_mirror_unchanged(worker, request);

	for (int i = 0; i < request->njobs; i++)
	{
		Job		   *job = request->jobs[i];
		AgentResult *result = &request->results[i];

		request->jobs[i] = NULL;	/* after an error, recovery frees the job */
		job->delegated = false;
		job->claim = worker->jobs.claim;
		if (!usable)
			claim_leave_job(worker, job, false);
		else if (request->end == AGENT_DONE)
			on_job(arg, job, result->row, result->problem);
		else
			on_job(arg, job, ROW_FAILED, request->problem);
	}
	if (!usable)
		schedule_retry_in(worker, 0);
}

static void
take_scan(Worker *worker, AgentRequest *request, DelegateScanFunction on_scan, void *arg)
{
	const char *problem = request->end == AGENT_DONE ? NULL : request->problem;

	if (!has_result(request) || !is_mirror_unchanged(worker, request))
		schedule_retry_in(worker, 0);
	else if (on_scan(arg, mirror_cache_get(worker->cache, request->relation, request->collection),
					 request->expansion, request->keys, problem))
		return;
	outbox_scan_leave(worker, request->relation, request->collection,
					  ItemPointerGetBlockNumber(&request->expansion->tid), false);
}

void
delegate_take_answers(Worker *worker, DelegateJobFunction on_job, DelegateScanFunction on_scan, void *arg)
{
	ListCell   *lc;

	foreach(lc, worker->delegation.answers)
	{
		AgentRequest *request = lfirst(lc);

		if (request->task == AGENT_READ)
			take_read(worker, request, on_job, arg);
		else
			take_scan(worker, request, on_scan, arg);
	}
}

void
delegate_forget_answers(Worker *worker)
{
	ListCell   *lc;

	foreach(lc, worker->delegation.answers)
		agent_request_free(lfirst(lc));
	list_free(worker->delegation.answers);
	worker->delegation.answers = NIL;
}

void
delegate_abort(Worker *worker)
{
	ListCell   *lc;

	foreach(lc, worker->delegation.answers)
	{
		AgentRequest *request = lfirst(lc);

		for (int i = 0; i < request->njobs; i++)
		{
			if (request->jobs[i] == NULL)
				continue;
			request->jobs[i]->delegated = false;
			request->jobs[i]->claim = worker->jobs.claim_committed + 1;
		}
	}
	delegate_forget_answers(worker);
}

/* Free requests and their jobs when the worker is closing.  The keys stay in the outbox. */
static void
drop_requests(Worker *worker, List **requests)
{
	ListCell   *lc;

	foreach(lc, *requests)
	{
		AgentRequest *request = lfirst(lc);

		for (int i = 0; i < request->njobs; i++)
			jobs_free(worker, request->jobs[i]);
		agent_request_free(request);
	}
	list_free(*requests);
	*requests = NIL;
}

bool
delegate_has_answers(const Worker *worker)
{
	return worker->delegation.answers != NIL;
}

/*
 * Writing back
 */

bool
delegate_has_columns(const Mirror *mirror)
{
	return mirror->document_id_attnum != 0 || mirror->enrichments_attnum != 0;
}

bool
delegate_wants_write_back(const Job *job)
{
	if (job->mirror == NULL || !delegate_has_columns(job->mirror) ||
		(!job->answered && !document_drops_enrichments(job)))
		return false;

	/*
	 * a row that no longer matches the filter is still there, and names its
	 * document
	 */
	return job->outcome == OUTCOME_MIRRORED ||
		(job->outcome == OUTCOME_FORGOTTEN && job->mirror->arguments.filter);
}

/* End a job whose write-back failed.  The next poll tries again. */
static void
fail_write_back(Worker *worker, Job *job, const char *problem)
{
	job->error = MemoryContextStrdup(job->context,
									 psprintf("could not write to the table's columns: %s", problem));
	job->unwritten = true;
	jobs_settle(worker, job);
}

/* End a job whose row is locked.  A poll tries again, after a delay that grows up to a minute. */
static void
miss_write_back(Worker *worker, Job *job)
{
	job->unwritten = true;
	job->polls = Min(job->polls, MAX_MISSED_POLLS);
	jobs_settle(worker, job);
}

static void
take_written(Worker *worker, Job *job, const AgentRequest *request, const AgentResult *result)
{
	job->unwritten = false;
	if (result->write == WRITE_DONE)
		jobs_settle(worker, job);
	else if (result->write == WRITE_FAILED)
		fail_write_back(worker, job, result->problem);
	else if (request->end == AGENT_DIED && request->njobs == 1)
		fail_write_back(worker, job, request->problem);
	else if (request->end == AGENT_DIED || request->end == AGENT_NOT_BEGUN)
		dlist_push_tail(&worker->jobs.to_write, &job->node);
	else
		miss_write_back(worker, job);
}

/*
 * Take the results of a request.  If that raises an error, recovery settles the jobs that were not
 * reached, as ones whose row was not written to.
 */
static void
take_write_backs(Worker *worker, AgentRequest *request)
{
	for (int i = 0; i < request->njobs; i++)
	{
		request->jobs[i]->delegated = false;
		request->jobs[i]->unwritten = true;
	}
	for (int i = 0; i < request->njobs; i++)
		take_written(worker, request->jobs[i], request, &request->results[i]);
	agent_request_free(request);
}

/* Send the write-backs that wait for the first job's mirror, up to max or the limits of a request. */
static void
send_write_backs(Worker *worker, Job *first, int max)
{
	AgentRequest *request = agent_request_create(worker->context, AGENT_WRITE_BACK, first->mirror,
												 first->collection);
	size_t		bytes = 0;
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &worker->jobs.to_write)
	{
		Job		   *job = dlist_container(Job, node, iter.cur);

		if (request->njobs >= Min(max, MAX_WRITE_BACKS) || bytes >= MAX_WRITE_BACK_BYTES)
			break;
		if (job->mirror != first->mirror)
			continue;
		dlist_delete(iter.cur);
		bytes += job->enrichments ? VARSIZE(job->enrichments) : 0;
		agent_request_add_job(request, job);
	}
	agents_send(worker->agents, request);
}

/* Send one request for each owner whose agent can take one. */
static void
send_all_write_backs(Worker *worker)
{
	dlist_head	waiting;

	dlist_init(&waiting);
	while (!dlist_is_empty(&worker->jobs.to_write))
	{
		Job		   *job = dlist_head_element(Job, node, &worker->jobs.to_write);
		Oid			owner = job->mirror->owner;

		if (agents_make_room(worker->agents, owner))
		{
			send_write_backs(worker, job, agents_max_jobs(worker->agents, owner));
			continue;
		}
		dlist_delete(&job->node);
		if (agents_have_no_slot(worker->agents))
			fail_write_back(worker, job, NO_SLOT_PROBLEM);
		else if (agents_rest_left(worker->agents, owner) > 0)
			fail_write_back(worker, job, REST_PROBLEM);
		else
			dlist_push_tail(&waiting, &job->node);
	}
	while (!dlist_is_empty(&waiting))
		dlist_push_tail(&worker->jobs.to_write, dlist_pop_head_node(&waiting));
}

/*
 * The worker's turn
 */

void
delegate_turn(Worker *worker)
{
	AgentRequest *request;

	if (agents_turn(worker->agents))
		schedule_retry_left(worker);
	while ((request = agents_next_ended(worker->agents)) != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(worker->context);

		if (request->task == AGENT_WRITE_BACK)
			take_write_backs(worker, request);
		else
			worker->delegation.answers = lappend(worker->delegation.answers, request);
		MemoryContextSwitchTo(old);
	}
	if (worker->closing)
	{
		drop_requests(worker, &worker->delegation.answers);
		drop_requests(worker, &worker->delegation.requests);
	}
	if (!dlist_is_empty(&worker->jobs.to_write))
	{
		send_all_write_backs(worker);
		if (agents_turn(worker->agents))
			schedule_retry_left(worker);
	}
}

bool
delegate_is_busy(const Worker *worker)
{
	return worker->delegation.requests != NIL || worker->delegation.answers != NIL || agents_pending(worker->agents) > 0;
}
