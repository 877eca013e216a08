/*-------------------------------------------------------------------------
 *
 * delegate.c
 *		What the worker leaves to the agents of tables' owners.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/clock.h"
#include "base/settings.h"
#include "utils/memutils.h"
#include "worker/agent.h"
#include "worker/claim.h"
#include "worker/delegate.h"
#include "worker/expansion.h"
#include "worker/prepare.h"
#include "worker/rendering.h"
#include "worker/schedule.h"
#include "worker/worker.h"

/* Write-backs of one request, and bytes of their enrichments. */
#define MAX_WRITE_BACKS			64
#define MAX_WRITE_BACK_BYTES	(1024 * 1024)

/* A mirror on which the worker and an agent do not agree is looked at again after so many seconds. */
#define CHANGED_DELAY			0.1

/* Which look comes next, at the latest, for a row that is missed: a minute's, see poll_delays in documents.c. */
#define MAX_MISSED_POLLS		4

/*
 * Handing over
 */

bool
delegate_is_served(Worker *worker, const CachedMirror *cached, bool wanted)
{
	const Mirror *mirror = cached->mirror;

	if (mirror == NULL || mirror->native || mirror->problem)
		return true;
	if (wanted ? agents_take(worker->agents, mirror->owner) : agents_could_take(worker->agents, mirror->owner))
		return true;
	if (agents_rest(worker->agents, mirror->owner) > 0)
		schedule_retry_in(worker, agents_rest(worker->agents, mirror->owner));
	return false;
}

static void
keep_request(Worker *worker, AgentRequest *request)
{
	MemoryContext old = MemoryContextSwitchTo(worker->context);

	worker->delegation.requests = lappend(worker->delegation.requests, request);
	MemoryContextSwitchTo(old);
}

/* The request of this claim for a mirror's rows. */
static AgentRequest *
read_request(Worker *worker, Job *job)
{
	AgentRequest *request;
	ListCell   *lc;

	foreach(lc, worker->delegation.requests)
	{
		request = lfirst(lc);
		if (request->task == AGENT_READ && request->mirror == job->mirror)
			return request;
	}
	request = agents_request(worker->agents, AGENT_READ, job->mirror, job->collection);
	keep_request(worker, request);
	return request;
}

static void
delegate_read(Worker *worker, Job *job)
{
	AgentRequest *request = read_request(worker, job);
	MemoryContext old;
	List	   *entries = NIL;
	ListCell   *lc;

	if (request->njobs >= agents_batch(worker->agents, request->owner))
	{
		claim_leave_job(worker, job, false);
		return;
	}
	old = MemoryContextSwitchTo(request->context);
	foreach(lc, job->entries)
		entries = lappend(entries, outbox_copy_entry(lfirst(lc)));
	job->entries = entries;
	agents_add_job(request, job);
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
			delegate_read(worker, job);
		else
			others = lappend(others, job);
	}
	return others;
}

void
delegate_scan(Worker *worker, CachedMirror *cached, const OutboxEntry *entry, int limit)
{
	AgentRequest *request = agents_request(worker->agents, AGENT_SCAN, cached->mirror, entry->collection);
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
		worker->delegation.requests = list_delete_first(worker->delegation.requests);	/* an error leaves those
																						 * that are not sent */
	}
}

/*
 * Taking up
 */

/* Is the mirror still the one that was read by?  Its table is locked then. */
static bool
is_unchanged(Worker *worker, const AgentRequest *request)
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

/* Nobody knows which of several rows has ended the agent; a single one has. */
static bool
is_answer(const AgentRequest *request)
{
	return request->end == AGENT_DONE || request->end == AGENT_FAILED ||
		(request->end == AGENT_DIED && (request->task == AGENT_SCAN || request->njobs == 1));
}

static void
take_read(Worker *worker, AgentRequest *request, DelegateJobFunction on_job, void *arg)
{
	bool		answer = is_answer(request) && is_unchanged(worker, request);

	for (int i = 0; i < request->njobs; i++)
	{
		Job		   *job = request->jobs[i];
		AgentResult *result = &request->results[i];

		request->jobs[i] = NULL;	/* an error may free it from here on */
		job->delegated = false;
		job->claim = worker->jobs.claim;
		if (!answer)
			jobs_free(worker, job);
		else if (request->end == AGENT_DONE)
			on_job(arg, job, result->row, result->problem);
		else
			on_job(arg, job, ROW_FAILED, request->problem);
	}
	if (!answer)
		schedule_rescan(worker);
}

static void
take_scan(Worker *worker, AgentRequest *request, DelegateScanFunction on_scan, void *arg)
{
	if (!is_answer(request) || !is_unchanged(worker, request))
	{
		schedule_rescan(worker);
		return;
	}
	if (request->end == AGENT_DONE)
		on_scan(arg, request->expansion, request->keys);
	else
	{
		expansion_put_off(worker, mirror_cache_get(worker->cache, request->relation, request->collection),
						  request->problem);
		outbox_scan_leave(worker, request->relation, request->collection,
						  ItemPointerGetBlockNumber(&request->expansion->tid), false);
	}
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
		agents_free_request(lfirst(lc));
	list_free(worker->delegation.answers);
	worker->delegation.answers = NIL;
}

/* What answers speak of is claimed again. */
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

/* A worker that is closing claims nothing any more: the keys stay in the outbox. */
static void
drop_reads(Worker *worker, List **requests)
{
	ListCell   *lc;

	foreach(lc, *requests)
	{
		AgentRequest *request = lfirst(lc);

		for (int i = 0; i < request->njobs; i++)
			jobs_free(worker, request->jobs[i]);
		agents_free_request(request);
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
delegate_wants_write_back(const Job *job)
{
	return job->outcome == OUTCOME_MIRRORED && job->answered && job->mirror &&
		(job->mirror->document_id_attnum != 0 || job->mirror->enrichments_attnum != 0);
}

static void
could_not_write(Worker *worker, Job *job, const char *problem)
{
	job->error = MemoryContextStrdup(job->context,
									 psprintf("could not write to the table's columns: %s", problem));
	job->unwritten = true;		/* it is tried again with the next look */
	jobs_settle(worker, job);
}

/* The row is looked at again soon, later if it is missed again and again, and written to then. */
static void
missed(Worker *worker, Job *job)
{
	job->unwritten = true;
	job->polls = Min(job->polls, MAX_MISSED_POLLS);
	jobs_settle(worker, job);
}

static void
take_written(Worker *worker, Job *job, const AgentRequest *request, const AgentResult *result)
{
	job->delegated = false;
	if (result->write == WRITE_DONE)
		jobs_settle(worker, job);
	else if (result->write == WRITE_FAILED)
		could_not_write(worker, job, result->problem);
	else if (request->end == AGENT_DIED && request->njobs == 1)
		could_not_write(worker, job, request->problem);
	else if (request->end == AGENT_DIED || request->end == AGENT_NOT_BEGUN)
		dlist_push_tail(&worker->jobs.to_write, &job->node);
	else
		missed(worker, job);
}

static void
take_write_backs(Worker *worker, AgentRequest *request)
{
	for (int i = 0; i < request->njobs; i++)
		take_written(worker, request->jobs[i], request, &request->results[i]);
	agents_free_request(request);
}

/* Takes the first job's mirror's jobs out of those that wait, as many as go along. */
static void
send_write_backs(Worker *worker, Job *first, int max)
{
	AgentRequest *request = agents_request(worker->agents, AGENT_WRITE_BACK, first->mirror,
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
		agents_add_job(request, job);
	}
	agents_send(worker->agents, request);
}

/* One request for each owner whose agent is free. */
static void
send_all_write_backs(Worker *worker)
{
	dlist_head	waiting;

	dlist_init(&waiting);
	while (!dlist_is_empty(&worker->jobs.to_write))
	{
		Job		   *job = dlist_head_element(Job, node, &worker->jobs.to_write);
		Oid			owner = job->mirror->owner;

		if (agents_take(worker->agents, owner))
		{
			send_write_backs(worker, job, agents_batch(worker->agents, owner));
			continue;
		}
		dlist_delete(&job->node);
		if (agents_have_no_slot(worker->agents))
			could_not_write(worker, job, "there is no background worker slot for the owner's functions (max_worker_processes), it is tried again later");
		else if (agents_rest(worker->agents, owner) > 0)
			could_not_write(worker, job, "the owner's functions took too long the last time, it is tried again later");
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
		drop_reads(worker, &worker->delegation.answers);
		drop_reads(worker, &worker->delegation.requests);
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
