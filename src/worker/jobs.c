/*-------------------------------------------------------------------------
 *
 * jobs.c
 *		The table of jobs: one a key, from its claim until it is settled.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/clock.h"
#include "common/hashfn.h"
#include "utils/memutils.h"
#include "worker/delegate.h"
#include "worker/jobs.h"
#include "worker/rendering.h"
#include "worker/worker.h"

/* Bytes that a job's memory begins with, and how many such pieces are kept for later jobs. */
#define JOB_SIZE			(4 * 1024)
#define MAX_IDLE_CONTEXTS	1000

static uint32
hash_job_key(const void *key, Size keysize)
{
	const JobKey *k = key;

	return hash_combine(hash_combine(murmurhash32(k->relation), string_hash(k->collection, 256)),
						hash_bytes((const unsigned char *) k->key, strlen(k->key)));
}

static int
match_job_keys(const void *a, const void *b, Size keysize)
{
	const JobKey *x = a;
	const JobKey *y = b;

	return !(x->relation == y->relation && strcmp(x->key, y->key) == 0 &&
			 strcmp(x->collection, y->collection) == 0);
}

void
jobs_init(Jobs *jobs, MemoryContext context)
{
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(JobKey);
	ctl.entrysize = sizeof(JobEntry);
	ctl.hash = hash_job_key;
	ctl.match = match_job_keys;
	ctl.hcxt = context;
	jobs->context = context;
	jobs->by_key = hash_create("mixpeek jobs", 1024, &ctl,
							   HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	dlist_init(&jobs->to_write);
	dlist_init(&jobs->ended);
}

Job *
jobs_find(Jobs *jobs, Oid relation, const char *collection, const char *key)
{
	JobKey		job_key = {relation, collection, key};
	JobEntry   *entry = hash_search(jobs->by_key, &job_key, HASH_FIND, NULL);

	return entry ? entry->job : NULL;
}

/*
 * Return memory for a job.  Most of what a job has is its row's document, so the memory
 * of a freed job is used again, with the block that it begins with.
 */
static MemoryContext
take_context(Jobs *jobs)
{
	MemoryContext context;

	if (jobs->idle_contexts == NIL)
		return AllocSetContextCreate(jobs->context, "mixpeek job", JOB_SIZE, JOB_SIZE, ALLOCSET_DEFAULT_MAXSIZE);
	context = llast(jobs->idle_contexts);
	jobs->idle_contexts = list_delete_last(jobs->idle_contexts);
	return context;
}

/* Keep the memory of a freed job for a later one. */
static void
leave_context(Jobs *jobs, MemoryContext context)
{
	MemoryContext old;

	if (list_length(jobs->idle_contexts) >= MAX_IDLE_CONTEXTS)
	{
		MemoryContextDelete(context);
		return;
	}
	MemoryContextReset(context);
	old = MemoryContextSwitchTo(jobs->context);
	jobs->idle_contexts = lappend(jobs->idle_contexts, context);
	MemoryContextSwitchTo(old);
}

Job *
jobs_create(Worker *worker, CachedMirror *cached, const char *collection, const char *key)
{
	MemoryContext context = take_context(&worker->jobs);
	Job		   *job = MemoryContextAllocZero(context, sizeof(Job));
	JobKey		job_key;
	JobEntry   *entry;

	job->context = context;
	job->number = ++worker->jobs.last_number;
	job->claim = worker->jobs.claim;
	job->relation = cached->relation;
	job->collection = MemoryContextStrdup(context, collection);
	job->key = MemoryContextStrdup(context, key);
	job->mirror = cached->mirror;
	if (job->mirror)
		job->mirror->njobs++;
	job->account = cached->account;
	job_key.relation = job->relation;
	job_key.collection = job->collection;
	job_key.key = job->key;
	entry = hash_search(worker->jobs.by_key, &job_key, HASH_ENTER, NULL);
	entry->job = job;
	worker->jobs.count++;
	if (job->account)
	{
		job->account->claimed++;
		job->claims = true;
	}
	return job;
}

/* Give back the job's share of its account's room, and the memory of its document. */
static void
release_account(Job *job)
{
	rendering_forget(job);
	if (job->claims)
		job->account->claimed--;
	job->claims = false;
}

/*
 * Count a job's enrichments among those that wait for a write-back.  They are counted
 * apart, so that answers of other mirrors need not wait for an owner's process.  If they are
 * too many, the job's are dropped; they come with the next poll.
 */
static void
begin_wait_for_write(Worker *worker, Job *job)
{
	size_t		bytes = job_bytes_kept(job);

	worker->jobs.kept_bytes -= bytes;
	if (worker->jobs.unwritten_bytes + bytes > MAX_KEPT_BYTES && job->enrichments)
	{
		pfree(job->enrichments);
		job->enrichments = NULL;
		bytes = job_bytes_kept(job);
	}
	worker->jobs.unwritten_bytes += bytes;
	job->waits_for_write = true;
}

static void
end_wait_for_write(Worker *worker, Job *job)
{
	if (!job->waits_for_write)
		return;
	job->waits_for_write = false;
	worker->jobs.unwritten_bytes -= job_bytes_kept(job);
	worker->jobs.kept_bytes += job_bytes_kept(job);
}

void
jobs_free(Worker *worker, Job *job)
{
	JobKey		job_key = {job->relation, job->collection, job->key};

	hash_search(worker->jobs.by_key, &job_key, HASH_REMOVE, NULL);
	worker->jobs.count--;
	end_wait_for_write(worker, job);
	worker->jobs.kept_bytes -= job_bytes_kept(job);
	if (job->mirror)
		job->mirror->njobs--;
	release_account(job);
	leave_context(&worker->jobs, job->context);
}

void
jobs_end(Worker *worker, Job *job, JobOutcome outcome, const char *error)
{
	job->outcome = outcome;
	job->error = error ? MemoryContextStrdup(job->context, error) : NULL;
	job->has_ended = true;
	job->under_way = false;
	if (!delegate_wants_write_back(job))
	{
		jobs_settle(worker, job);
		return;
	}
	/* its share of the room stays: only so many may wait for write-backs */
	rendering_forget(job);
	begin_wait_for_write(worker, job);
	dlist_push_tail(&worker->jobs.to_write, &job->node);
}

void
jobs_settle(Worker *worker, Job *job)
{
	end_wait_for_write(worker, job);
	release_account(job);		/* settling waits while the table is locked */
	if (worker->jobs.nended++ == 0)
		worker->jobs.ended_at = clock_seconds();
	dlist_push_tail(&worker->jobs.ended, &job->node);
}

void
jobs_count_kept(Worker *worker, Job *job, size_t bytes_before)
{
	worker->jobs.kept_bytes += job_bytes_kept(job) - bytes_before;
	if (worker->jobs.kept_bytes <= MAX_KEPT_BYTES || job->enrichments == NULL)
		return;
	worker->jobs.kept_bytes -= job_bytes_kept(job);
	pfree(job->enrichments);
	job->enrichments = NULL;
}

bool
jobs_has_namesake(Jobs *jobs, const Job *job, const char *marker)
{
	HASH_SEQ_STATUS status;
	JobEntry   *entry;

	hash_seq_init(&status, jobs->by_key);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		const Job  *other = entry->job;

		if (other->relation != job->relation && other->marker && other->path &&
			strcmp(other->collection, job->collection) == 0 &&
			(marker == NULL || strcmp(other->marker, marker) == 0))
		{
			hash_seq_term(&status);
			return true;
		}
	}
	return false;
}
