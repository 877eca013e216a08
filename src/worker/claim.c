/*-------------------------------------------------------------------------
 *
 * claim.c
 *		From dirty keys to jobs with an intent on record.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/clock.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "catalog/pg_class.h"
#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "mirror/native_rows.h"
#include "miscadmin.h"
#include "state/aside.h"
#include "state/documents.h"
#include "state/origin.h"
#include "state/outbox.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "worker/delegate.h"
#include "worker/look.h"
#include "worker/recovery.h"
#include "worker/rendering.h"
#include "worker/worker.h"

/* Bytes of a job's memory to begin with, and the number of such pieces kept for later jobs. */
#define JOB_SIZE			(4 * 1024)
#define MAX_IDLE_CONTEXTS	1000

/* Keys that one "look at every row" entry becomes at a time. */
#define EXPANSION_CHUNK	1000


/*
 * The longest key that the primary key of mixpeek.documents has room for, with
 * the collection: an index entry has some 2,700 bytes.  Of a longer one its beginning
 * and its hash are stored.
 */
#define MAX_KEY_BYTES		2000
#define LONG_KEY_SHOWN		200

/* Entries that mean nothing are reported once in so many seconds. */
#define NONSENSE_EVERY	60

/* Seconds until a table whose keys could not be read is tried again. */
#define PROBLEM_DELAY	60

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

static HTAB *
jobs_table(Worker *worker)
{
	HASHCTL		ctl = {0};

	if (worker->jobs)
		return worker->jobs;
	ctl.keysize = sizeof(JobKey);
	ctl.entrysize = sizeof(JobEntry);
	ctl.hash = hash_job_key;
	ctl.match = match_job_keys;
	ctl.hcxt = worker->context;
	worker->jobs = hash_create("mixpeek jobs", 1024, &ctl,
							   HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	return worker->jobs;
}

static Job *
find_job(Worker *worker, Oid relation, const char *collection, const char *key)
{
	JobKey		job_key = {relation, collection, key};
	JobEntry   *entry = hash_search(jobs_table(worker), &job_key, HASH_FIND, NULL);

	return entry ? entry->job : NULL;
}

/*
 * A job's memory, most of which is its row's document.  Those of jobs that have ended
 * are used again, with the first block that they have.
 */
static MemoryContext
take_context(Worker *worker)
{
	MemoryContext context;

	if (worker->idle_contexts == NIL)
		return AllocSetContextCreate(worker->context, "mixpeek job", JOB_SIZE, JOB_SIZE, ALLOCSET_DEFAULT_MAXSIZE);
	context = llast(worker->idle_contexts);
	worker->idle_contexts = list_delete_last(worker->idle_contexts);
	return context;
}

static void
leave_context(Worker *worker, MemoryContext context)
{
	MemoryContext old;

	if (list_length(worker->idle_contexts) >= MAX_IDLE_CONTEXTS)
	{
		MemoryContextDelete(context);
		return;
	}
	MemoryContextReset(context);
	old = MemoryContextSwitchTo(worker->context);
	worker->idle_contexts = lappend(worker->idle_contexts, context);
	MemoryContextSwitchTo(old);
}

static Job *
create_job(Worker *worker, CachedMirror *cached, const char *key)
{
	MemoryContext context = take_context(worker);
	Job		   *job = MemoryContextAllocZero(context, sizeof(Job));
	JobKey		job_key;
	JobEntry   *entry;

	job->context = context;
	job->number = ++worker->last_job;
	job->claim = worker->claims;
	job->relation = cached->relation;
	job->collection = MemoryContextStrdup(context, cached->collection);
	job->key = MemoryContextStrdup(context, key);
	job->mirror = cached->mirror;
	if (job->mirror)
		job->mirror->njobs++;
	job->account = cached->account;
	job_key.relation = job->relation;
	job_key.collection = job->collection;
	job_key.key = job->key;
	entry = hash_search(jobs_table(worker), &job_key, HASH_ENTER, NULL);
	entry->job = job;
	worker->njobs++;
	if (job->account)
	{
		job->account->claimed++;
		job->claims = true;
	}
	return job;
}

/* What the job has taken of its server's room and of memory. */
static void
release_claim(Job *job)
{
	rendering_forget(job);
	if (job->claims)
		job->account->claimed--;
	job->claims = false;
}

/*
 * Enrichments that wait for an owner's process are counted by themselves: nobody else's
 * answers are to wait for it.  Where these are too many they come with the next look.
 */
static void
wait_for_write(Worker *worker, Job *job)
{
	size_t		bytes = job_bytes_kept(job);

	worker->kept_bytes -= bytes;
	if (worker->unwritten_bytes + bytes > MAX_KEPT_BYTES && job->enrichments)
	{
		pfree(job->enrichments);
		job->enrichments = NULL;
		bytes = job_bytes_kept(job);
	}
	worker->unwritten_bytes += bytes;
	job->waits_for_write = true;
}

static void
end_wait_for_write(Worker *worker, Job *job)
{
	if (!job->waits_for_write)
		return;
	job->waits_for_write = false;
	worker->unwritten_bytes -= job_bytes_kept(job);
	worker->kept_bytes += job_bytes_kept(job);
}

void
worker_free_job(Worker *worker, Job *job)
{
	JobKey		job_key = {job->relation, job->collection, job->key};

	hash_search(jobs_table(worker), &job_key, HASH_REMOVE, NULL);
	worker->njobs--;
	end_wait_for_write(worker, job);
	worker->kept_bytes -= job_bytes_kept(job);
	if (job->mirror)
		job->mirror->njobs--;
	release_claim(job);
	leave_context(worker, job->context);
}

void
worker_end_job(Worker *worker, Job *job, JobOutcome outcome, const char *error)
{
	job->outcome = outcome;
	job->error = error ? MemoryContextStrdup(job->context, error) : NULL;
	job->has_ended = true;
	job->under_way = false;
	if (!delegate_wants_write_back(job))
	{
		worker_settle_job(worker, job);
		return;
	}
	rendering_forget(job);		/* but it still counts among its account's, so
								 * that not too many wait */
	wait_for_write(worker, job);
	dlist_push_tail(&worker->to_write, &job->node);
}

void
worker_settle_job(Worker *worker, Job *job)
{
	end_wait_for_write(worker, job);
	release_claim(job);			/* it may wait for long if somebody has locked
								 * the table */
	if (worker->nended++ == 0)
		worker->ended_at = clock_seconds();
	dlist_push_tail(&worker->ended, &job->node);
}

/*
 * Taking keys
 */

typedef struct Claim
{
	Worker	   *worker;
	List	   *jobs;			/* new ones */
	List	   *taken;			/* outbox entries to remove */
	List	   *expanded;		/* those of them that said "all", from the
								 * start */
	List	   *due_of_down;	/* keys that are due, of servers that are down */
	int			nonsense;		/* entries that mean nothing */
} Claim;

/* The key itself, or what stands for one that is too long. */
static const char *
storable_key(const char *key)
{
	int			len = strlen(key);

	if (len <= MAX_KEY_BYTES)
		return key;
	return psprintf("%.*s... (%d bytes, hash %016llx)", pg_mbcliplen(key, len, LONG_KEY_SHOWN), key, len,
					(unsigned long long) hash_bytes_extended((const unsigned char *) key, len, 0));
}

/*
 * The job of a key, new if there was none.  NULL if the key must wait: it is
 * under way, its table is locked, or its server has no room.
 */
static Job *
claim_key(Claim *claim, Oid relation, const char *collection, const char *key)
{
	Worker	   *worker = claim->worker;
	Job		   *job = find_job(worker, relation, collection, key);
	CachedMirror *cached;

	if (job && !job->read && list_member_ptr(claim->jobs, job))
		return job;
	if (job && !WEAKENED(WEAKEN_IN_FLIGHT_GUARD))
	{
		worker->skipped = true;
		return NULL;
	}
	worker->working_on = relation;
	cached = mirror_cache_get(worker->cache, relation, collection);
	if (cached->blocked_until > 0)
		look_later(worker, LOCK_DELAY);
	if (cached->blocked_until > 0 || !look_has_room(cached) || !delegate_is_served(worker, cached, true))
		return NULL;
	job = create_job(worker, cached, key);
	claim->jobs = lappend(claim->jobs, job);
	return job;
}

/* "Look at every row": the next keys become entries, and the place moves on. */
typedef struct Expansion
{
	CachedMirror *cached;
	const OutboxEntry *entry;
	List	   *keys;
	bool		blocked;		/* a partition is locked */
} Expansion;

static void
scan_keys(void *arg)
{
	Expansion  *expansion = arg;
	const OutboxEntry *entry = expansion->entry;

	if (entry->operation == OUTBOX_ALL_STORED)
		expansion->keys = document_scan_keys(entry->relation, entry->collection,
											 entry->key, EXPANSION_CHUNK);
	else if (expansion->cached->mirror)
		expansion->blocked = !native_rows_scan_keys(expansion->cached->mirror, entry->key, EXPANSION_CHUNK, &expansion->keys);
}

void
worker_cannot_list(Worker *worker, CachedMirror *cached, const char *problem)
{
	ereport(LOG,
			(errmsg("mixpeek_docs: the rows of table %u could not be listed: %s",
					cached->relation, problem)));
	cached->blocked_until = clock_seconds() + PROBLEM_DELAY;
	look_later(worker, PROBLEM_DELAY);
}

/* The keys that an entry stands for next become entries, and its place moves on. */
static void
put_expansion(Claim *claim, OutboxEntry *entry, List *listed)
{
	char	  **keys = palloc(sizeof(char *) * (list_length(listed) + 1));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, listed)
		keys[n++] = lfirst(lc);
	outbox_put(entry->relation, OUTBOX_RECHECK, entry->collection, keys, n, &claim->worker->walk.news);
	if (n == EXPANSION_CHUNK)
		outbox_put(entry->relation, entry->operation, entry->collection, &keys[n - 1], 1,
				   &claim->worker->walk.news);
	if (entry->key == NULL)
	{
		outbox_remove_expansions(entry);
		claim->expanded = lappend(claim->expanded, entry);
	}
	claim->taken = lappend(claim->taken, entry);
	claim->worker->moves++;
	claim->worker->look = true;
}

/* False if the entry is left for later. */
static bool
expand(Claim *claim, OutboxEntry *entry)
{
	Expansion	expansion = {0};
	CachedMirror *cached;
	char	   *problem;

	claim->worker->working_on = entry->relation;
	cached = mirror_cache_get(claim->worker->cache, entry->relation, entry->collection);
	if (cached->blocked_until > 0)
	{
		look_later(claim->worker, LOCK_DELAY);
		return false;
	}
	if (entry->operation == OUTBOX_ALL_ROWS && cached->mirror && !cached->mirror->native)
	{
		if (cached->mirror->problem)
			worker_cannot_list(claim->worker, cached, cached->mirror->problem);
		else if (delegate_is_served(claim->worker, cached, true))
		{
			delegate_scan(claim->worker, cached, entry, EXPANSION_CHUNK);
			return true;
		}
		return false;
	}
	expansion.cached = cached;
	expansion.entry = entry;
	crash_note_stored(entry->relation);
	problem = guard_call_within(scan_keys, &expansion, mixpeek_read_timeout, NULL);
	crash_note_clear();
	if (problem)
		worker_cannot_list(claim->worker, cached, problem);
	else if (expansion.blocked)
	{
		cached->blocked_until = clock_seconds() + LOCK_DELAY;
		look_later(claim->worker, LOCK_DELAY);
	}
	else
		put_expansion(claim, entry, expansion.keys);
	return problem == NULL && !expansion.blocked;
}

/* An expansion from the start stands for all others that wait. */
static bool
is_expanded(const Claim *claim, const OutboxEntry *entry)
{
	ListCell   *lc;

	foreach(lc, claim->expanded)
	{
		const OutboxEntry *other = lfirst(lc);

		if (entry->key == NULL && other->relation == entry->relation &&
			other->operation == entry->operation &&
			strcmp(other->collection, entry->collection) == 0)
			return true;
	}
	return false;
}

/*
 * Taken up in this claim already?  Its block may be in several sets, and what an agent has
 * listed was put beside it: each time more it would go on twice from there.
 */
static bool
is_in_hand(const Claim *claim, OutboxEntry *entry)
{
	ListCell   *lc;

	foreach(lc, claim->taken)
	{
		OutboxEntry *other = lfirst(lc);

		if (ItemPointerEquals(&other->tid, &entry->tid) && other->xmin == entry->xmin)
			return true;
	}
	return delegate_is_listing(claim->worker, entry);
}

static bool
take_expansion(Claim *claim, OutboxEntry *entry)
{
	if (is_in_hand(claim, entry))
		return true;
	if (!is_expanded(claim, entry))
		return expand(claim, entry);
	claim->taken = lappend(claim->taken, entry);
	return true;
}

/* Nobody but a superuser's hand can have put it in. */
static bool
is_nonsense(const OutboxEntry *entry)
{
	static const char operations[] = {
		OUTBOX_INSERT, OUTBOX_UPDATE, OUTBOX_DELETE, OUTBOX_RECHECK, OUTBOX_REFRESH,
		OUTBOX_ALL_ROWS, OUTBOX_ALL_STORED
	};
	bool		all = entry->operation == OUTBOX_ALL_ROWS || entry->operation == OUTBOX_ALL_STORED;

	return memchr(operations, entry->operation, sizeof(operations)) == NULL ||
		!OidIsValid(entry->relation) || strlen(entry->collection) > MAX_KEY_BYTES || (entry->key == NULL && !all);
}

/* False if the entry is left for later. */
static bool
take_entry(Claim *claim, OutboxEntry *entry)
{
	Job		   *job;

	if (is_nonsense(entry))
	{
		claim->nonsense++;
		claim->taken = lappend(claim->taken, entry);
		return true;
	}
	if (entry->operation == OUTBOX_ALL_ROWS || entry->operation == OUTBOX_ALL_STORED)
		return take_expansion(claim, entry);
	job = claim_key(claim, entry->relation, entry->collection, storable_key(entry->key));
	if (job == NULL)
		return false;
	if (strlen(entry->key) > MAX_KEY_BYTES)
	{
		job->long_key = strlen(entry->key);
		job->row_exists = entry->operation != OUTBOX_DELETE;
	}
	if (entry->operation == OUTBOX_REFRESH)
		job->refresh = !job->dirty;
	else
	{
		if (!job->dirty)
			job->inserted = entry->operation == OUTBOX_INSERT;
		job->dirty = true;
		job->refresh = false;
	}
	job->entries = lappend(job->entries, entry);
	return true;
}

/* An entry is left where it is: since its key is under way, or since its mirror takes none just now. */
static void
leave_entry(Worker *worker, const OutboxEntry *entry)
{
	bool		busy = entry->key && find_job(worker, entry->relation, entry->collection, storable_key(entry->key));

	walk_leave(worker, entry->relation, entry->collection, ItemPointerGetBlockNumber(&entry->tid), busy);
}

/* One record, and then at most one a minute, with the number since the one before. */
static void
report_nonsense(int n)
{
	static int	total = 0;
	static double not_before = 0;

	total += n;
	if (n == 0 || clock_seconds() < not_before)
		return;
	ereport(LOG,
			(errmsg("mixpeek_docs: %d entries of mixpeek.outbox that mean nothing were removed", total)));
	total = 0;
	not_before = clock_seconds() + NONSENSE_EVERY;
}

void
worker_leave_job(Worker *worker, Job *job)
{
	ListCell   *lc;

	foreach(lc, job->entries)
	{
		OutboxEntry *entry = lfirst(lc);

		walk_leave(worker, entry->relation, entry->collection, ItemPointerGetBlockNumber(&entry->tid), false);
	}
	if (job->due)
		walk_leave_due(worker, job->relation, job->collection, job->due);
	worker_free_job(worker, job);
}

static void
take_outbox(Claim *claim, int limit)
{
	ListCell   *lc;

	foreach(lc, walk_read(claim->worker, limit))
	{
		OutboxEntry *entry = lfirst(lc);

		if (!take_entry(claim, entry))
			leave_entry(claim->worker, entry);
	}
	walk_end(claim->worker, worker_wants_keys(claim->worker));
	look_note_full(claim->worker);
	report_nonsense(claim->nonsense);
}

/* A key that is due; where it cannot be taken, it is looked at again when that has changed. */
static void
take_due_key(Claim *claim, const DueKey *key)
{
	Worker	   *worker = claim->worker;
	Job		   *job;

	if (list_length(claim->jobs) >= CLAIM_MAX)
		worker->next_due = -1;
	else if (!walk_excludes(worker, key->relation, key->collection) &&
			 (job = claim_key(claim, key->relation, key->collection, key->key)) != NULL)
	{
		job->due = key->due;
		return;
	}
	if (find_job(worker, key->relation, key->collection, key->key))
		worker->walk.busy_due = Min(worker->walk.busy_due, key->due);
	else
		walk_leave_due(worker, key->relation, key->collection, key->due);
}

static void
take_due(Claim *claim, int limit)
{
	Worker	   *worker = claim->worker;
	double		began = clock_seconds();
	List	   *due;
	ListCell   *lc;

	if (limit == 0)
		return;
	due = look_read_due(worker, limit);
	foreach(lc, due)
	{
		DueKey	   *key = lfirst(lc);

		if (walk_is_down(worker, key->relation, key->collection))
			claim->due_of_down = lappend(claim->due_of_down, key);
		else
			take_due_key(claim, key);
	}
	if (due != NIL && claim->jobs == NIL && claim->due_of_down == NIL)
		look_rest_due(worker, began);
}

/*
 * Reading rows
 */

static char *
to_utf8(Job *job, const char *text, int len, int *utf8_len)
{
	char	   *utf8 = pg_server_to_any(text, len, PG_UTF8);

	if (GetDatabaseEncoding() == PG_SQL_ASCII)
		(void) pg_verify_mbstr(PG_UTF8, text, len, false);
	*utf8_len = utf8 == text ? len : strlen(utf8);
	return memcpy(MemoryContextAlloc(job->context, *utf8_len + 1), utf8, *utf8_len + 1);
}

/* The rows of a mirror that are read here. */
typedef struct Rows
{
	int			n;
	Job		  **jobs;
} Rows;

static void
take_row(void *arg, int i, const RenderedRow *row)
{
	Job		   *job = ((Rows *) arg)->jobs[i];

	rendering_begin(job, row->content_len, row->features ? row->features_len : -1);
	memcpy(job->content, row->content, row->content_len);
	if (row->features)
		memcpy(job->features, row->features, row->features_len);
	rendering_end(job);
}

/* What became of a job's row; false if the job was left, as there is no room for its bytes. */
static bool
take_row_end(Worker *worker, Job *job, RowEnd end, const char *problem)
{
	if (end != ROW_FOUND)
	{
		rendering_forget(job);
		job->row_exists = false;
	}
	if (end == ROW_FAILED)
		job->error = MemoryContextStrdup(job->context, problem);
	job->read_skipped = end == ROW_SKIPPED;
	if (end != ROW_LEFT)
		return true;

	/*
	 * until those beside it are gone; with an agent's answer they may be by
	 * now
	 */
	job->account->full = job->account->bytes > 0;
	job->account->excluded = true;
	worker_leave_job(worker, job);
	return false;
}

/* Reads the rows of some jobs, all of one mirror; returns those that were not left. */
static List *
read_mirror(Worker *worker, Mirror *mirror, List *jobs)
{
	Reading		reading = {.mirror = mirror,.take_row = take_row};
	Rows		rows = {0, palloc(sizeof(Job *) * list_length(jobs))};
	Account    *account = ((Job *) linitial(jobs))->account;
	List	   *read = NIL;
	ListCell   *lc;

	worker->working_on = mirror->relation;
	reading.keys = palloc0(sizeof(ReadKey) * list_length(jobs));
	reading.arg = &rows;
	reading.room = rendering_room(account);
	foreach(lc, jobs)
	{
		Job		   *job = lfirst(lc);

		reading.keys[rows.n].key = job->key;
		reading.keys[rows.n].marker = job->marker;
		rows.jobs[rows.n++] = job;
	}
	reading.nkeys = rows.n;
	reading_run(&reading);
	for (int i = 0; i < rows.n; i++)
	{
		if (take_row_end(worker, rows.jobs[i], reading.keys[i].end, reading.keys[i].problem))
			read = lappend(read, rows.jobs[i]);
	}
	return read;
}

bool
worker_needs_row(const Job *job)
{
	return job->mirror && job->mirror->problem == NULL && !job->refresh && job->long_key == 0;
}

static bool
is_read_here(const Job *job)
{
	return worker_needs_row(job) && !job->read;
}

/* Reads the rows of all jobs that need one and have none; returns the jobs that were not left. */
static List *
read_all(Worker *worker, List *jobs)
{
	List	   *mirrors = NIL;
	List	   *others = NIL;
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, jobs)
	{
		if (is_read_here(lfirst(lc)))
			mirrors = list_append_unique_ptr(mirrors, ((Job *) lfirst(lc))->mirror);
		else
			others = lappend(others, lfirst(lc));
	}
	foreach(lc, mirrors)
	{
		List	   *group = NIL;

		foreach(lc2, jobs)
		{
			if (is_read_here(lfirst(lc2)) && ((Job *) lfirst(lc2))->mirror == lfirst(lc))
				group = lappend(group, lfirst(lc2));
		}
		crash_note_stored(((Mirror *) lfirst(lc))->relation);
		others = list_concat(others, read_mirror(worker, lfirst(lc), group));
		crash_note_clear();
	}
	return others;
}

/*
 * What agents have read
 */

static void
reset_stored(Job *job)
{
	job->stored = job->assumed_new = job->in_doubt = false;
	ItemPointerSetInvalid(&job->record_tid);
	job->document_id = NULL;
	job->sent_content.known = job->sent_features.known = false;
	job->intent_content.known = job->intent_features.known = false;
	job->attempts = job->polls = 0;
	job->server = NULL;
	job->marker = NULL;
	job->next_attempt_at = 0;
	job->state = NULL;
}

/* What is stored of the key is fetched again. */
static void
take_read_job(void *arg, Job *job, RowEnd end, const char *problem)
{
	Claim	   *claim = arg;

	job->read = true;
	job->read_marker = job->marker;
	reset_stored(job);
	if (take_row_end(claim->worker, job, end, problem))
		claim->jobs = lappend(claim->jobs, job);
}

static void
take_scanned(void *arg, OutboxEntry *entry, List *keys)
{
	put_expansion(arg, entry, keys);
}

static const char *
marker_of(Job *job, const char *stored)
{
	return stored ? stored : psprintf("%s%s", job->mirror->marker_prefix, job->key);
}

/* What was stored of a key when its row was handed to an agent may have changed: then it is looked at again. */
static bool
is_outdated(Job *job)
{
	return job->read && strcmp(marker_of(job, job->marker), marker_of(job, job->read_marker)) != 0;
}

/* Does another table's job, with a request, go into the collection; with this marker, if it is not NULL? */
static bool
has_other_job(Worker *worker, const Job *job, const char *marker)
{
	HASH_SEQ_STATUS status;
	JobEntry   *entry;

	hash_seq_init(&status, jobs_table(worker));
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

/* Most of the time there are none, which is found out once for all of a mirror's jobs. */
static bool
may_have_namesakes(Worker *worker, const Job *job)
{
	return job->mirror && job->mirror->forgotten && has_other_job(worker, job, NULL);
}

/*
 * A table that was dropped and made again has the markers of the old one, whose last
 * requests may still be under way: what they leave is to be found by the new one's look-up.
 */
static bool
waits_for_namesake(Worker *worker, Job *job)
{
	return has_other_job(worker, job, marker_of(job, job->marker));
}

/* The entries are read again when a job has ended. */
static void
leave_busy_job(Worker *worker, Job *job)
{
	ListCell   *lc;

	foreach(lc, job->entries)
	{
		OutboxEntry *entry = lfirst(lc);

		walk_leave(worker, entry->relation, entry->collection, ItemPointerGetBlockNumber(&entry->tid), true);
	}
	if (job->due)
		worker->walk.busy_due = Min(worker->walk.busy_due, job->due);
	worker->skipped = true;
	worker_free_job(worker, job);
}

/* Leaves the jobs that are not to go on yet, and returns the others. */
static List *
drop_unready(Worker *worker, List *jobs)
{
	List	   *kept = NIL;
	const Mirror *mirror = NULL;
	bool		namesakes = false;
	ListCell   *lc;

	foreach(lc, jobs)
	{
		Job		   *job = lfirst(lc);

		if (job->mirror != mirror)
			namesakes = may_have_namesakes(worker, job);
		mirror = job->mirror;
		if (is_outdated(job))
		{
			worker_free_job(worker, job);
			worker_look(worker);
		}
		else if (namesakes && waits_for_namesake(worker, job))
			leave_busy_job(worker, job);
		else
			kept = lappend(kept, job);
	}
	return kept;
}

/*
 * What is stored
 */

/*
 * A row that was inserted is taken for one of which nothing is stored: if that is
 * wrong, the primary key of mixpeek.documents will tell.
 */
static void
fetch_known(List *jobs)
{
	List	   *known = NIL;
	ListCell   *lc;

	foreach(lc, jobs)
	{
		Job		   *job = lfirst(lc);

		job->assumed_new = job->inserted && worker_needs_row(job);
		if (!job->assumed_new)
			known = lappend(known, job);
	}
	document_fetch(known);
}

/* But only if it is there, and goes the straight way. */
static void
fetch_unclear(List *jobs)
{
	List	   *unclear = NIL;
	ListCell   *lc;

	foreach(lc, jobs)
	{
		Job		   *job = lfirst(lc);

		if (!job->assumed_new || (job->row_exists && job->error == NULL && !job->read_skipped && job->account->server))
			continue;
		job->assumed_new = false;
		unclear = lappend(unclear, job);
	}
	document_fetch(unclear);
}

/*
 * The key has a record after all, which may not be committed yet: it is claimed again.
 * Without an intent nothing is sent.
 */
static void
look_at_known(Worker *worker, Job *job)
{
	bool		seen = job->assumed_new;	/* by now, most likely */

	outbox_put(job->relation, OUTBOX_RECHECK, job->collection, &job->key, 1,
			   seen ? &worker->walk.news : &worker->walk.later);
	worker->moves++;
	worker_free_job(worker, job);
	if (seen)
		worker->look = true;
	else
		look_later(worker, LOCK_DELAY);
}

/*
 * Deciding
 */

/*
 * Unmirrored with its documents to be deleted: the record says on which server, and
 * the table's owner has the key.
 */
static void
adopt_unmirrored(Worker *worker, Job *job)
{
	HeapTuple	tuple;

	if (!job->stored)
		return;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(job->relation));
	if (!HeapTupleIsValid(tuple))
		return;
	job->account = mirror_cache_account(worker->cache, job->server,
										((Form_pg_class) GETSTRUCT(tuple))->relowner);
	job->account->claimed++;
	job->claims = true;
	ReleaseSysCache(tuple);
}

/* A key that is tried again later anyway, or whose record is gone. */
static bool
is_not_due(const Job *job)
{
	return job->stored && strcmp(job->state, "pending") == 0 &&
		job->next_attempt_at > clock_now();
}

/* A restore may have brought a record here and left the origin that it belongs to behind. */
static bool
is_foreign(const Worker *worker, const Job *job)
{
	return job->stored && job->marker && worker->origin &&
		strncmp(job->marker, worker->origin, strlen(worker->origin)) != 0;
}

/* A request that was given up for good may still be at work on the other side. */
static bool
must_rest(const Job *job)
{
	return job->stored && strcmp(job->state, "failed") == 0 &&
		job->next_attempt_at > clock_now();
}

/* Raises where a text cannot be converted to UTF-8. */
static void
convert_request_parts(void *arg)
{
	Job		   *job = arg;
	MemoryContext old = MemoryContextSwitchTo(job->context);
	StringInfoData buf;
	int			len;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "/v1/collections/");
	http_append_escaped(&buf, to_utf8(job, job->collection, strlen(job->collection), &len));
	appendStringInfoString(&buf, "/documents");
	job->path = buf.data;
	initStringInfo(&buf);
	escape_json(&buf, job->collection);
	job->collection_json = to_utf8(job, buf.data, buf.len, &len);
	resetStringInfo(&buf);
	escape_json(&buf, job->marker);
	job->marker_json = to_utf8(job, buf.data, buf.len, &len);
	MemoryContextSwitchTo(old);
}

/* A text that is not what its encoding says is the job's problem. */
static void
prepare_request_parts(Job *job)
{
	MemoryContext old = MemoryContextSwitchTo(job->context);
	char	   *problem = NULL;

	if (job->marker == NULL)
		job->marker = psprintf("%s%s", job->mirror->marker_prefix, job->key);
	if (job->server == NULL || job->mirror)
		job->server = pstrdup(job->account->name);
	MemoryContextSwitchTo(old);
	if (GetDatabaseEncoding() == PG_UTF8)
		convert_request_parts(job);
	else
		problem = guard_call(convert_request_parts, job);
	if (problem && job->error == NULL)
		job->error = MemoryContextStrdup(job->context, problem);
}

/* Nothing is known of the key's document, or not for certain. */
static bool
must_look_up(const Job *job)
{
	if (job->refresh)
		return true;
	if (WEAKENED(WEAKEN_LOOK_UP))
		return false;
	if (job->in_doubt)
		return true;
	if (job->document_id)
		return false;
	return job->stored || !job->inserted || job->mirror->forgotten;
}

/* The job's first decision; true if it has something to send. */
static bool
decide(Worker *worker, Job *job)
{
	if (job->mirror == NULL)
		adopt_unmirrored(worker, job);
	if (job->account == NULL)
	{
		if (job->stored)
			worker_end_job(worker, job, OUTCOME_FORGOTTEN, NULL);
		else
			worker_free_job(worker, job);
		return false;
	}
	if (is_not_due(job) ||
		(job->refresh && (!job->stored || strcmp(job->state, "mirrored") != 0)))
	{
		worker_free_job(worker, job);
		return false;
	}
	if (must_rest(job))
	{
		job->attempts = 0;
		worker_end_job(worker, job, OUTCOME_PENDING,
					   "the last request was given up, and may still be at work on the other side");
		return false;
	}
	if (!job->stored && !job->row_exists && job->inserted && job->error == NULL &&
		!job->read_skipped && job->mirror->problem == NULL)
	{
		worker_free_job(worker, job);	/* came and went before anybody looked */
		return false;
	}
	if (is_foreign(worker, job))
		job->error = MemoryContextStrdup(job->context,
										 "the document is another database's: its marker does not begin with this one's origin");
	if (job->long_key > 0 && job->row_exists)
		job->error = MemoryContextStrdup(job->context,
										 psprintf("the key has %d bytes, more than can be stored (%d)",
												  job->long_key, MAX_KEY_BYTES));
	job->must_look_up = must_look_up(job);
	prepare_request_parts(job);
	if (job->refresh || job->error || job->read_skipped || (job->mirror && job->mirror->problem) ||
		job->account->server == NULL || job_next_step(job) != JOB_END)
		return true;
	if (job->stored && strcmp(job->state, "mirrored") == 0)
		worker_free_job(worker, job);	/* the API has been told all this */
	else
		worker_end_job(worker, job, job->row_exists ? OUTCOME_MIRRORED : OUTCOME_FORGOTTEN, NULL);
	return false;
}

/* Recorded as sending, now into the account's queue; or it ends at once. */
static void
queue_job(Worker *worker, Job *job)
{
	Account    *account = job->account;

	if (job->error || (job->mirror && job->mirror->problem))
	{
		failure_log_count(worker->failure_log, job->error ? "the row cannot be mirrored" : "the mirror is broken", false);
		worker_end_job(worker, job, OUTCOME_FAILED, job->error ? job->error : job->mirror->problem);
	}
	else if (job->read_skipped || account->server == NULL)
	{
		job->attempts--;
		job->next_attempt_at = clock_in(PROBLEM_DELAY * 1000);
		if (!job->read_skipped)
			account_report_problem(account);
		worker_end_job(worker, job, OUTCOME_PENDING, job->read_skipped ?
					   "other rows of the table took too long to read" : account->problem);
	}
	else
	{
		dlist_push_tail(&account->ready, &job->node);
		account->nready++;
	}
}

/*
 * Requests of a worker before this one may still be at work on the other side
 * for as long as their server's request_timeout.
 */
static void
recover(Worker *worker)
{
	ListCell   *lc;

	worker->unrecovered = false;
	document_bound_waits(mixpeek_retry_max_delay);
	foreach(lc, document_abandoned())
	{
		AbandonedKeys *abandoned = lfirst(lc);
		Account    *account = mirror_cache_account(worker->cache, abandoned->server,
												   abandoned->owner);

		if (ConditionalLockRelationOid(abandoned->relation, AccessShareLock))
			document_recover(abandoned, account->server ? account->server->request_timeout : 0);
		else
		{
			worker->unrecovered = true;
			look_later(worker, LOCK_DELAY);
		}
	}
}

static void
count_attempt(Job *job)
{
	if (job->dirty && job->stored && strcmp(job->state, "pending") != 0)
		job->attempts = 0;
	if (!job->refresh)
		job->attempts++;
	if (job->dirty)
		job->polls = 0;
}

static void
set_text(Worker *worker, char **text, const char *value)
{
	if (*text)
		pfree(*text);
	*text = value ? MemoryContextStrdup(worker->context, value) : NULL;
}

/*
 * A restore may bring another database's documents at any time, and adopt() may
 * change whose they are.
 */
static bool
may_touch_documents(Worker *worker)
{
	char	   *id;
	char	   *problem = origin_problem(&id);

	set_text(worker, &worker->copy_of, problem);
	if (problem)
		return false;
	if (id && (worker->origin == NULL || strcmp(id, worker->origin) != 0))
	{
		mirror_cache_invalidate(worker->cache);
		set_text(worker, &worker->origin, id);
	}
	return true;
}

/* Neither keys that are due wait for all changes, nor changes for all of them; of one they take turns. */
static int
half_for_due(Worker *worker, int limit)
{
	if (walk_delay(worker, clock_seconds()) != 0)
		return limit;
	worker->due_first = !worker->due_first;
	return (limit + worker->due_first) / 2;
}

/* An error from here on may be any table's, unless there is but one key. */
static void
works_on_many(Worker *worker)
{
	if (worker->careful_claims == 0)
		worker->working_on = InvalidOid;
}

/* The keys to look at: those of which agents have answered, those that are due, and those of the outbox. */
static void
take_keys(Claim *claim, bool due)
{
	Worker	   *worker = claim->worker;
	int			limit;
	ListCell   *lc;

	look_exclude(worker);
	delegate_take_answers(worker, take_read_job, take_scanned, claim);
	limit = look_widest_room(worker);
	if (limit == 0)
		limit = CLAIM_MAX;		/* of servers that are not known yet */
	if (worker->careful_claims > 0)
		limit = 1;
	if (due)
		take_due(claim, half_for_due(worker, limit));
	if (list_length(claim->jobs) < limit)
		take_outbox(claim, limit - list_length(claim->jobs));

	/*
	 * whether a server is up again: other keys of it come first to find out,
	 * but there need not be any
	 */
	foreach(lc, claim->due_of_down)
		take_due_key(claim, lfirst(lc));
}

/* Their rows, and what is stored of them.  Those that an agent reads are not among the claim's jobs any more. */
static void
read_keys(Claim *claim)
{
	Worker	   *worker = claim->worker;
	ListCell   *lc;

	works_on_many(worker);
	fetch_known(claim->jobs);
	foreach(lc, claim->jobs)
	{
		Job		   *job = lfirst(lc);

		if (!job->dirty && job->stored && strcmp(job->state, "mirrored") == 0)
			job->refresh = true;
	}
	claim->jobs = read_all(worker, delegate_reads(worker, claim->jobs));
	works_on_many(worker);
	rendering_hash(claim->jobs);
	fetch_unclear(claim->jobs);
	claim->jobs = drop_unready(worker, claim->jobs);
	foreach(lc, claim->jobs)
		claim->taken = list_concat(claim->taken, ((Job *) lfirst(lc))->entries);
}

/* What is to be done about them: put on record here, returned to be queued. */
static List *
record_intents(Claim *claim)
{
	Worker	   *worker = claim->worker;
	List	   *intended = NIL;
	List	   *refreshed = NIL;
	List	   *queued = NIL;
	ListCell   *lc;

	foreach(lc, claim->jobs)
	{
		Job		   *job = lfirst(lc);

		worker->working_on = job->relation;
		if (!decide(worker, job))
			continue;
		queued = lappend(queued, job);
		count_attempt(job);
		if (job->refresh)
			refreshed = lappend(refreshed, job);
		else
			intended = lappend(intended, job);
	}
	works_on_many(worker);
	document_intend(intended);
	worker->intends = intended != NIL;
	document_postpone(refreshed);
	outbox_remove(claim->taken);
	return queued;
}

void
worker_claim(Worker *worker)
{
	Claim		claim = {worker};
	bool		due = look_may_read_due(worker);
	bool		answers;
	List	   *queued;
	ListCell   *lc;

	shmem_expect_changes();		/* what is committed from here on may not be
								 * seen */
	if (!may_touch_documents(worker))
		return;
	recovery_begin_claim(worker);
	aside_begin_claim();
	if (aside_next() > 0)
		look_later(worker, aside_next());
	if (worker->unrecovered)
		recover(worker);
	look_reload(worker);
	answers = delegate_has_answers(worker);
	take_keys(&claim, due);
	read_keys(&claim);
	queued = record_intents(&claim);
	delegate_forget_answers(worker);
	if (answers && worker->skipped)
	{
		worker->skipped = false;
		worker_look_busy(worker);
	}
	foreach(lc, queued)
	{
		Job		   *job = lfirst(lc);

		if (job->stored || ItemPointerIsValid(&job->record_tid))
			queue_job(worker, job);
		else
			look_at_known(worker, job);
	}
	aside_end_claim(!worker->look && !worker_is_due(worker));
}
