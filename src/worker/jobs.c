/*-------------------------------------------------------------------------
 *
 * jobs.c
 *		The table of jobs: one a key, from its claim until it is settled.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/clock.h"
#include "base/settings.h"
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

static uint32
hash_marker(const void *key, Size keysize)
{
	const char *marker = *(char *const *) key;

	return hash_bytes((const unsigned char *) marker, strlen(marker));
}

static int
match_markers(const void *a, const void *b, Size keysize)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

static HTAB *
create_marker_table(MemoryContext context)
{
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(char *);
	ctl.entrysize = sizeof(MarkerEntry);
	ctl.hash = hash_marker;
	ctl.match = match_markers;
	ctl.hcxt = context;
	return hash_create("mixpeek markers of jobs", 1024, &ctl,
					   HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
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
	jobs->by_marker = create_marker_table(context);
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

bool
jobs_take_marker(Jobs *jobs, Job *job)
{
	MarkerEntry *entry;

	if (WEAKENED(WEAKEN_IN_FLIGHT_GUARD))
		return true;
	entry = hash_search(jobs->by_marker, &job->marker, HASH_FIND, NULL);
	if (entry && entry->relation != job->relation)
		return false;
	if (entry == NULL)
	{
		char	   *marker = MemoryContextStrdup(jobs->context, job->marker);

		entry = hash_search(jobs->by_marker, &marker, HASH_ENTER, NULL);
		entry->relation = job->relation;
		entry->njobs = 0;
	}
	entry->njobs++;
	job->has_marker = true;
	return true;
}

/* Let other jobs have a job's marker. */
static void
release_marker(Jobs *jobs, Job *job)
{
	MarkerEntry *entry;
	char	   *marker;

	if (!job->has_marker)
		return;
	job->has_marker = false;
	entry = hash_search(jobs->by_marker, &job->marker, HASH_FIND, NULL);
	if (--entry->njobs > 0)
		return;
	marker = entry->marker;
	hash_search(jobs->by_marker, &marker, HASH_REMOVE, NULL);
	pfree(marker);
}

void
jobs_free(Worker *worker, Job *job)
{
	JobKey		job_key = {job->relation, job->collection, job->key};

	hash_search(worker->jobs.by_key, &job_key, HASH_REMOVE, NULL);
	worker->jobs.count--;
	release_marker(&worker->jobs, job);
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
