/*-------------------------------------------------------------------------
 *
 * claim.c
 *		From dirty and due keys to jobs with an intent on record.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/clock.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "mirror/key.h"
#include "state/aside.h"
#include "state/documents.h"
#include "state/due.h"
#include "state/outbox.h"
#include "state/owed.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/claim.h"
#include "worker/decision.h"
#include "worker/definition_check.h"
#include "worker/delegate.h"
#include "worker/expansion.h"
#include "worker/inventory.h"
#include "worker/prepare.h"
#include "worker/server_check.h"
#include "worker/worker.h"

/* Entries that mean nothing are logged at most once in so many seconds. */
#define NONSENSE_EVERY	60

/* Seconds for which rows that may want documents back go before deletes that are tried again. */
#define RETURN_PATIENCE	10

typedef struct Claim
{
	Worker	   *worker;
	List	   *jobs;			/* that this claim has created or taken back
								 * from agents */
	Expansions	expansions;
	List	   *taken;			/* further outbox entries to be removed */
	List	   *returns;		/* outbox entries of owed_put_return() */
	List	   *due_of_down;	/* due keys of accounts that are down */
	int			nonsense;		/* entries that mean nothing */
	bool		intends;		/* an intent was recorded */
} Claim;

/*
 * Taking keys
 */

/* Return a key's cached mirror; of an owed delete (owed not NULL), what stands for its account. */
static CachedMirror *
find_mirror(Worker *worker, Oid relation, const char *collection, const DueKey *owed)
{
	return owed ? mirror_cache_get_owed(worker->cache, owed->server, owed->owner) :
		mirror_cache_get(worker->cache, relation, collection);
}

/*
 * Return the job of a key, a new one if it has none.  NULL if the key must wait: its job is under way,
 * its table is locked, or its account has no room.  owed: see find_mirror().
 */
static Job *
take_key(Claim *claim, Oid relation, const char *collection, const char *key, const DueKey *owed)
{
	Worker	   *worker = claim->worker;
	Job		   *job = jobs_find(&worker->jobs, relation, collection, key);
	CachedMirror *cached;

	if (job && !job->read && list_member_ptr(claim->jobs, job))
		return job;
	if (job && !WEAKENED(WEAKEN_IN_FLIGHT_GUARD))
	{
		worker->schedule.left_busy = true;
		return NULL;
	}
	worker->recovery.current_table = relation;
	cached = find_mirror(worker, relation, collection, owed);
	if (cached->blocked_until > 0)
		schedule_retry_in(worker, LOCK_DELAY);
	if (cached->blocked_until > 0 || !schedule_has_room(cached) || !delegate_is_served(worker, cached, true))
		return NULL;
	(void) definition_check(worker, cached, false);
	job = jobs_create(worker, cached, collection, key);
	claim->jobs = lappend(claim->jobs, job);
	return job;
}

/* Check whether an entry means nothing.  Only a superuser can have put it in by hand. */
static bool
is_nonsense(const OutboxEntry *entry)
{
	static const char operations[] = {
		OUTBOX_INSERT, OUTBOX_UPDATE, OUTBOX_DELETE, OUTBOX_RECHECK, OUTBOX_REFRESH,
		OUTBOX_ALL_ROWS, OUTBOX_ALL_STORED, OUTBOX_DEFINITION, OUTBOX_ALL_LISTED
	};

	if (owed_is_announcement(entry->relation, entry->operation) || owed_is_return(entry) || owed_is_retry(entry))
		return false;
	return memchr(operations, entry->operation, sizeof(operations)) == NULL ||
		!OidIsValid(entry->relation) || strlen(entry->collection) > MAX_KEY_BYTES ||
		(entry->key == NULL && !expansion_is_one(entry) && entry->operation != OUTBOX_DEFINITION &&
		 entry->operation != OUTBOX_ALL_LISTED);
}

/* Note in a job what an entry of its key says. */
static void
note_entry(Job *job, OutboxEntry *entry)
{
	if (strlen(entry->key) > MAX_KEY_BYTES)
	{
		job->long_key = strlen(entry->key);
		job->row_exists = entry->operation != OUTBOX_DELETE;
	}
	if (entry->operation == OUTBOX_REFRESH)
		job->refresh = job->asked = !job->dirty;
	else
	{
		if (!job->dirty)
			job->inserted = entry->operation == OUTBOX_INSERT;
		job->dirty = true;
		job->refresh = false;
	}
	job->entries = lappend(job->entries, entry);
}

/* Take an entry "all documents", which stays in the outbox until the page was listed; false if it is left for later. */
static bool
take_inventory(Claim *claim, OutboxEntry *entry)
{
	Job		   *job;

	if (!inventory_take(claim->worker, entry, &job))
		return false;
	if (job)
		claim->jobs = lappend(claim->jobs, job);
	else
		claim->taken = lappend(claim->taken, entry);
	return true;
}

/* Take an entry; returns false if it is left for later. */
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
	if (owed_is_return(entry))
	{
		claim->returns = lappend(claim->returns, entry);
		return true;
	}
	if (owed_is_retry(entry))
	{
		owed_retry_one(entry);
		schedule_read_due_again(claim->worker);
		claim->worker->moves++;
		claim->taken = lappend(claim->taken, entry);
		return true;
	}
	if (owed_is_announcement(entry->relation, entry->operation))
	{
		schedule_read_due_again(claim->worker);
		mirror_cache_invalidate(claim->worker->cache);	/* their rows may have
														 * documents now */
		claim->taken = lappend(claim->taken, entry);
		return true;
	}
	if (expansion_is_one(entry))
		return expansion_take(claim->worker, &claim->expansions, entry);
	if (entry->operation == OUTBOX_DEFINITION)
	{
		bool		done = definition_take(claim->worker, entry);

		if (done)
			claim->taken = lappend(claim->taken, entry);
		return done;
	}
	if (entry->operation == OUTBOX_ALL_LISTED)
		return take_inventory(claim, entry);
	job = take_key(claim, entry->relation, entry->collection, key_abbreviate(entry->key), NULL);
	if (job)
		note_entry(job, entry);
	return job != NULL;
}

/* Leave an entry in the outbox, because its key has a job, or its mirror takes no keys now. */
static void
leave_entry(Worker *worker, const OutboxEntry *entry)
{
	bool		busy = entry->operation == OUTBOX_ALL_LISTED ? inventory_has_job(worker, entry) :
		entry->key && jobs_find(&worker->jobs, entry->relation, entry->collection, key_abbreviate(entry->key));

	outbox_scan_leave(worker, entry->relation, entry->collection, ItemPointerGetBlockNumber(&entry->tid), busy);
}

/* Log how many entries meant nothing, at most once a minute. */
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

/* Leave a due record, because its key has a job, or its mirror takes no keys now. */
static void
leave_due(Worker *worker, Oid relation, const char *collection, TimestampTz due, bool busy)
{
	OutboxScan *scan = &worker->schedule.scan;

	if (busy)
		scan->busy_due = Min(scan->busy_due, due);
	else
		outbox_scan_leave_due(worker, relation, collection, due);
}

void
claim_leave_job(Worker *worker, Job *job, bool busy)
{
	ListCell   *lc;

	foreach(lc, job->entries)
	{
		OutboxEntry *entry = lfirst(lc);

		outbox_scan_leave(worker, entry->relation, entry->collection, ItemPointerGetBlockNumber(&entry->tid), busy);
	}
	if (job->due)
		leave_due(worker, job->relation, owed_has_job(job) ? owed_scope(job->account->name, job->account->owner) : job->collection,
				  job->due, busy);
	if (busy)
		worker->schedule.left_busy = true;
	jobs_free(worker, job);
}

/*
 * Take the entries of owed_put_return(), once nothing else is to be done, or has been for RETURN_PATIENCE;
 * until then they are left.  A row that comes later than its document's delete costs another document, and
 * a load that never ends must not keep deletes from being tried.
 */
static void
take_returns(Claim *claim)
{
	Worker	   *worker = claim->worker;
	bool		is_idle = claim->jobs == NIL && claim->expansions.done == NIL && worker->jobs.count == 0;
	ListCell   *lc;

	if (claim->returns == NIL)
		return;
	if (worker->schedule.returns_since == 0)
		worker->schedule.returns_since = clock_seconds();
	is_idle = is_idle || clock_seconds() - worker->schedule.returns_since > RETURN_PATIENCE;
	if (is_idle)
		worker->schedule.returns_since = 0;
	foreach(lc, claim->returns)
	{
		OutboxEntry *entry = lfirst(lc);
		BlockNumber block = ItemPointerGetBlockNumber(&entry->tid);

		if (is_idle)
		{
			owed_retry_at(entry);
			schedule_read_due_again(worker);
			claim->taken = lappend(claim->taken, entry);
			worker->moves++;
			continue;
		}
		blockset_add(&worker->schedule.scan.later, block, block);
		schedule_retry_in(worker, LOCK_DELAY);
	}
}

static void
take_entries(Claim *claim, int limit)
{
	ListCell   *lc;

	foreach(lc, outbox_scan_read(claim->worker, limit))
	{
		OutboxEntry *entry = lfirst(lc);

		if (!take_entry(claim, entry))
			leave_entry(claim->worker, entry);
	}
	take_returns(claim);
	schedule_end_scan(claim->worker);
	report_nonsense(claim->nonsense);
}

/* Return the name under which a key's mirror, or an owed delete's account, is left or excluded. */
static const char *
due_scope(const DueKey *key)
{
	return key->server ? owed_scope(key->server, key->owner) : key->collection;
}

/* Take a due key, or leave it to be retried when what is in the way is over. */
static void
take_due_key(Claim *claim, const DueKey *key)
{
	Worker	   *worker = claim->worker;
	Job		   *job = NULL;

	if (list_length(claim->jobs) >= CLAIM_MAX)
		worker->schedule.next_due = DUE_UNKNOWN;
	else if (!outbox_scan_is_excluded(worker, key->relation, due_scope(key)))
		job = take_key(claim, key->relation, key->collection, key->key, key->server ? key : NULL);
	if (job)
		job->due = key->due;
	else
		leave_due(worker, key->relation, due_scope(key), key->due,
				  jobs_find(&worker->jobs, key->relation, key->collection, key->key) != NULL);
}

/* Take due keys; those of accounts that are down are kept for the end. */
static void
take_due_keys(Claim *claim, int limit)
{
	Worker	   *worker = claim->worker;
	double		began = clock_seconds();
	List	   *due;
	ListCell   *lc;

	if (limit == 0)
		return;
	due = schedule_read_due(worker, limit);
	foreach(lc, due)
	{
		DueKey	   *key = lfirst(lc);

		if (key->server)
			key->server = pstrdup(server_check_choose(worker, key->server, key->place_known, key->place, key->owner));
		if (outbox_scan_is_down(worker, key->relation, due_scope(key)))
			claim->due_of_down = lappend(claim->due_of_down, key);
		else
			take_due_key(claim, key);
	}
	if (due != NIL && claim->jobs == NIL && claim->due_of_down == NIL)
		schedule_pause_due(worker, began);
}

/*
 * Answers of agents
 */

static void
take_read_job(void *arg, Job *job, RowEnd end, const char *problem)
{
	Claim	   *claim = arg;

	if (prepare_take_read(claim->worker, job, end, problem))
		claim->jobs = lappend(claim->jobs, job);
}

/* Take the keys that an agent has listed for an entry, or why it could not.  Returns false if the entry stays. */
static bool
take_listed_keys(void *arg, CachedMirror *cached, OutboxEntry *entry, List *keys, const char *problem)
{
	Claim	   *claim = arg;

	if (problem)
		return expansion_fail(claim->worker, &claim->expansions, cached, entry, problem);
	expansion_put_keys(claim->worker, &claim->expansions, cached, entry, keys);
	return true;
}

/*
 * The claim
 */

/*
 * Take the keys of this claim: those that agents have answered, due ones, and those of the outbox.  Due
 * keys of an account that is down come last: one of them finds out whether it is up again, but any
 * other key of it does so as well.
 */
static void
take_keys(Claim *claim, bool due)
{
	Worker	   *worker = claim->worker;
	int			limit;
	ListCell   *lc;

	schedule_begin_claim(worker);
	delegate_take_answers(worker, take_read_job, take_listed_keys, claim);
	limit = schedule_limit(worker);
	if (due)
		take_due_keys(claim, schedule_due_share(worker, limit));
	if (list_length(claim->jobs) < limit)
		take_entries(claim, limit - list_length(claim->jobs));
	foreach(lc, claim->due_of_down)
		take_due_key(claim, lfirst(lc));
}

/* Note the entries of the claim's jobs, before some of the jobs end. */
static void
note_taken(Claim *claim)
{
	ListCell   *lc;

	foreach(lc, claim->jobs)
		claim->taken = list_concat(claim->taken, ((Job *) lfirst(lc))->entries);
}

/* Record what will be sent of each job, and return the jobs that have something to send. */
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

		worker->recovery.current_table = job->relation;
		if (!decision_make(worker, job))
			continue;
		queued = lappend(queued, job);
		decision_count_attempt(job);
		if (job->refresh)
			refreshed = lappend(refreshed, job);
		else if (job->inventory == NULL)
			intended = lappend(intended, job);
	}
	recovery_work_on_many(worker);
	document_intend(intended);
	document_postpone(refreshed);
	claim->intends = intended != NIL;
	return queued;
}

/*
 * Put the key of a job, which was assumed to be new and has a record after all, into the outbox again.
 * Its intent was not recorded, so nothing is sent.  The record of a key that is seen for the first time
 * may not be committed yet; then it is rechecked a little later.
 */
static void
recheck_key(Worker *worker, Job *job)
{
	bool		committed = job->assumed_new;	/* most likely */

	outbox_put(job->relation, OUTBOX_RECHECK, job->collection, &job->key, 1,
			   committed ? &worker->schedule.scan.news : &worker->schedule.scan.later);
	worker->moves++;
	jobs_free(worker, job);
	if (committed)
		worker->schedule.more = true;
	else
		schedule_retry_in(worker, LOCK_DELAY);
}

static void
queue_jobs(Worker *worker, List *jobs)
{
	ListCell   *lc;

	foreach(lc, jobs)
	{
		Job		   *job = lfirst(lc);

		if (job->stored || job->inventory || ItemPointerIsValid(&job->record_tid))
			decision_queue(worker, job);
		else
			recheck_key(worker, job);
	}
}

/* Run a claim; returns whether an intent was recorded. */
static bool
claim_keys(Worker *worker)
{
	Claim		claim = {worker};
	bool		due = schedule_may_read_due(worker);
	bool		answers;
	List	   *queued;

	if (!schedule_lock_records(worker))
		return false;
	shmem_expect_changes();		/* a commit from here on may not be seen below */
	if (!origin_check_pass(worker))
		return false;
	recovery_begin_claim(worker);
	aside_begin_claim();
	if (aside_next() > 0)
		schedule_retry_in(worker, aside_next());
	if (worker->recovery.abandoned)
		recovery_take_over(worker);
	schedule_reload_accounts(worker);
	server_check_run(worker);
	answers = delegate_has_answers(worker);
	take_keys(&claim, due);
	claim.jobs = prepare_jobs(worker, claim.jobs);
	note_taken(&claim);
	queued = record_intents(&claim);
	outbox_remove(list_concat(claim.taken, claim.expansions.done));
	delegate_forget_answers(worker);
	/* keys may have been left for jobs that this claim has ended */
	if (worker->schedule.left_busy && (answers || list_length(queued) < list_length(claim.jobs)))
		schedule_retry_busy(worker);
	queue_jobs(worker, queued);
	aside_end_claim(!worker->schedule.more && !schedule_is_due(worker));
	return claim.intends;
}

void
claim_next(Worker *worker)
{
	UserState	user;
	bool		intends;

	worker->jobs.claim++;
	worker->recovery.abandoned_before = worker->recovery.abandoned;
	worker_begin(worker, &user);
	MemoryContextSwitchTo(worker->turn_context);
	intends = claim_keys(worker);
	worker_commit(worker, &user, intends);
	server_check_committed(worker);
	recovery_note_success(worker);
	if (worker->recovery.careful_claims > 0)
		worker->recovery.careful_claims--;
	delegate_send(worker);
	mirror_cache_sweep(worker->cache);
}
