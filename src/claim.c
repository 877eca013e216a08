/*-------------------------------------------------------------------------
 *
 * claim.c
 *		From dirty keys to jobs with an intent on record.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "catalog/pg_class.h"
#include "common/cryptohash.h"
#include "common/hashfn.h"
#include "common/sha2.h"
#include "document.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "mixpeek_docs.h"
#include "origin.h"
#include "outbox.h"
#include "recovery.h"
#include "shmem.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "worker.h"

/* Bytes of a job's memory to begin with, and the number of such pieces kept for later jobs. */
#define JOB_SIZE			(4 * 1024)
#define MAX_IDLE_CONTEXTS	1000

/* Keys that one "look at every row" entry becomes at a time. */
#define EXPANSION_CHUNK	1000

/* Keys claimed at once at the most: meanwhile no answer is read. */
#define CLAIM_MAX		256

/* The API's store holds up to 16 MB a document. */
#define MAX_DOCUMENT_BYTES	(16 * 1024 * 1024)

/*
 * The longest key that the primary key of mixpeek.documents has room for, with
 * the collection: an index entry has some 2,700 bytes.  Of a longer one its beginning
 * and its hash are stored.
 */
#define MAX_KEY_BYTES		2000
#define LONG_KEY_SHOWN		200

/* So many rows of a table may take mixpeek.read_timeout in one claim. */
#define MAX_READ_TIMEOUTS	3

/* Seconds until a table whose keys could not be read is tried again. */
#define PROBLEM_DELAY	60

/*
 * A walk past the keys of servers that have no room, to those of others, rests
 * so many times as long as it took, and so many seconds, before the next one.
 */
#define PASS_BY_REST		30
#define MIN_PASS_BY_REST	0.02

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
create_job(Worker *worker, Target *target, const char *key)
{
	MemoryContext context = take_context(worker);
	Job		   *job = MemoryContextAllocZero(context, sizeof(Job));
	JobKey		job_key;
	JobEntry   *entry;

	job->context = context;
	job->number = ++worker->last_job;
	job->claim = worker->claims;
	job->relation = target->relation;
	job->collection = MemoryContextStrdup(context, target->collection);
	job->key = MemoryContextStrdup(context, key);
	job->mirror = target->mirror;
	job->connection = target->connection;
	job_key.relation = job->relation;
	job_key.collection = job->collection;
	job_key.key = job->key;
	entry = hash_search(jobs_table(worker), &job_key, HASH_ENTER, NULL);
	entry->job = job;
	worker->njobs++;
	if (job->connection)
	{
		job->connection->claimed++;
		job->claims = true;
	}
	return job;
}

static void
forget_text(char **text, int *len)
{
	if (*text)
		pfree(*text);
	*text = NULL;
	*len = 0;
}

static void
forget_rendering(Job *job)
{
	if (job->wanted)
		job->connection->bytes -= job->content_len + job->features_len;
	forget_text(&job->content, &job->content_len);
	forget_text(&job->features, &job->features_len);
}

/* What the job has taken of its server's room and of memory. */
static void
release_claim(Job *job)
{
	forget_rendering(job);
	if (job->claims)
		job->connection->claimed--;
	job->claims = false;
}

void
worker_free_job(Worker *worker, Job *job)
{
	JobKey		job_key = {job->relation, job->collection, job->key};

	hash_search(jobs_table(worker), &job_key, HASH_REMOVE, NULL);
	worker->njobs--;
	release_claim(job);
	leave_context(worker, job->context);
}

void
worker_end_job(Worker *worker, Job *job, JobOutcome outcome, const char *error)
{
	release_claim(job);	/* it may wait for long if somebody has locked the table */
	job->outcome = outcome;
	job->error = error ? MemoryContextStrdup(job->context, error) : NULL;
	job->has_ended = true;
	job->under_way = false;
	if (worker->nended++ == 0)
		worker->ended_at = limits_now();
	dlist_push_tail(&worker->ended, &job->node);
}

/*
 * Room
 */

static int
connection_room(Connection *connection)
{
	if (connection->server == NULL)
		return connection->retry_at <= limits_now() || !connection->valid ? 1 : 0;
	if (connection->bytes >= MAX_BYTES)
		return 0;
	return Min(limits_room(&connection->limits, limits_now(), connection->claimed),
			   1 + (int) ((MAX_BYTES - connection->bytes) / connection->mean_bytes));
}

/* It has room, and is worth a claim: a transaction for a few keys costs as much as one for hundreds. */
static bool
wants_keys(Connection *connection)
{
	return connection_room(connection) > 0 &&
		!(connection->server && limits_is_fed(&connection->limits, limits_now(), connection->claimed));
}

/* Of the connections known. */
static int
widest_room(Worker *worker)
{
	int			room = 0;
	ListCell   *lc;

	foreach(lc, worker->targets->connections)
	{
		if (wants_keys(lfirst(lc)))
			room = Max(room, connection_room(lfirst(lc)));
	}
	return Min(room, CLAIM_MAX);
}

static bool
all_want_keys(const Worker *worker)
{
	ListCell   *lc;

	foreach(lc, worker->targets->connections)
	{
		if (!wants_keys(lfirst(lc)))
			return false;
	}
	return true;
}

/*
 * The walk may go on; past the keys of servers that want none it goes only now and
 * then, and not if the last time showed that there are no others.
 */
static bool
may_walk(const Worker *worker)
{
	return all_want_keys(worker) ||
		(!worker->passed_all && limits_now() >= worker->pass_by_at);
}

bool
worker_is_due(const Worker *worker)
{
	return worker->next_due == -1 ||
		(worker->next_due != 0 && worker->next_due <= GetCurrentTimestamp());
}

/* Keys whose time has come are read even without room, to know whom they wait for; but then only now and then. */
static bool
may_read_due(const Worker *worker)
{
	return worker_is_due(worker) && (all_want_keys(worker) || limits_now() >= worker->pass_due_by_at);
}

bool
worker_is_paused(const Worker *worker)
{
	return worker->copy_of || !mixpeek_enabled || worker->closing || worker->purpose == WORKER_LOOKS;
}

bool
worker_may_claim(Worker *worker)
{
	if (worker_is_paused(worker))
		return false;
	return (worker->look && may_walk(worker)) || may_read_due(worker);
}

static void
walk_again(Worker *worker)
{
	worker->look_again = worker->look_again ||
		ItemPointerGetOffsetNumberNoCheck(&worker->position) != 0;
	worker->look = true;
	worker->next_due = -1;
}

void
worker_look(Worker *worker)
{
	worker->passed_all = false;
	walk_again(worker);
}

void
worker_look_excluded(Worker *worker)
{
	ListCell   *lc;

	foreach(lc, worker->targets->connections)
	{
		Connection *connection = lfirst(lc);

		if (!connection->excluded || !wants_keys(connection))
			continue;
		connection->excluded = false;
		walk_again(worker);
		worker->passed_all = worker->passed_all && all_want_keys(worker);
	}
}

/* False where the target's server is busy, down or unusable just now. */
static bool
has_room_for(Target *target)
{
	if (target->connection == NULL || connection_room(target->connection) > 0)
		return true;
	target->connection->excluded = true;
	return false;
}

/* Mirrors whose server takes nothing now, whose table is locked, or (all) that is down: their keys stay where they are. */
typedef struct Exclusions
{
	int			n;
	Oid		   *relations;
	char	  **collections;
} Exclusions;

static void
collect_exclusions(Worker *worker, bool all_down, Exclusions *exclusions)
{
	int			max = list_length(worker->targets->targets);
	ListCell   *lc;

	exclusions->n = 0;
	exclusions->relations = palloc(sizeof(Oid) * (max + 1));
	exclusions->collections = palloc(sizeof(char *) * (max + 1));
	foreach(lc, worker->targets->targets)
	{
		Target	   *target = lfirst(lc);
		bool		wanted = target->connection == NULL || wants_keys(target->connection);

		if (!wanted)
			target->connection->excluded = true;
		if (target->blocked_until <= limits_now() && wanted && !recovery_is_aside(worker, target->relation) &&
			!(all_down && target->connection && target->connection->limits.down))
			continue;
		exclusions->relations[exclusions->n] = target->relation;
		exclusions->collections[exclusions->n++] = target->collection;
	}
}

/*
 * Taking keys
 */

typedef struct Claim
{
	Worker	   *worker;
	List	   *jobs;			/* new ones */
	List	   *taken;			/* outbox entries to remove */
	List	   *expanded;		/* those of them that said "all", from the start */
	bool		excluded;		/* a due key of a mirror that would be among the exclusions now */
	bool		more_due;		/* than were read */
} Claim;

/* The walk passes an entry by: it is looked at again so many seconds later. */
static void
skip_until(Worker *worker, double delay)
{
	double		until = limits_now() + delay;

	if (worker->skipped_until == 0 || until < worker->skipped_until)
		worker->skipped_until = until;
}

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
	Target	   *target;

	if (job && list_member_ptr(claim->jobs, job))
		return job;
	if (job && !WEAKENED(WEAKEN_IN_FLIGHT_GUARD))
	{
		worker->skipped = true;
		return NULL;
	}
	worker->working_on = relation;
	if (recovery_is_aside(worker, relation))
	{
		claim->excluded = true;
		return NULL;
	}
	target = targets_get(worker->targets, relation, collection);
	if (target->blocked_until > 0)
		skip_until(worker, LOCK_DELAY);
	if (target->blocked_until > 0 || !has_room_for(target))
	{
		claim->excluded = true;
		return NULL;
	}
	job = create_job(worker, target, key);
	claim->jobs = lappend(claim->jobs, job);
	return job;
}

/* "Look at every row": the next keys become entries, and the place moves on. */
typedef struct Expansion
{
	Target	   *target;
	const OutboxEntry *entry;
	List	   *keys;
} Expansion;

static void
scan_keys(void *arg)
{
	Expansion  *expansion = arg;
	const OutboxEntry *entry = expansion->entry;

	if (entry->operation == OUTBOX_ALL_STORED)
		expansion->keys = document_scan_keys(entry->relation, entry->collection,
											 entry->key, EXPANSION_CHUNK);
	else if (expansion->target->mirror)
		expansion->keys = mirror_scan_keys(expansion->target->mirror, entry->key, EXPANSION_CHUNK);
}

static bool
expand(Claim *claim, const OutboxEntry *entry)
{
	Expansion	expansion = {0};
	char	  **keys;
	int			n = 0;
	ListCell   *lc;
	Target	   *target;
	char	   *problem;

	claim->worker->working_on = entry->relation;
	if (recovery_is_aside(claim->worker, entry->relation))
		return false;
	target = targets_get(claim->worker->targets, entry->relation, entry->collection);
	if (target->blocked_until > 0)
	{
		skip_until(claim->worker, LOCK_DELAY);
		return false;
	}
	expansion.target = target;
	expansion.entry = entry;
	problem = guard_call_within(scan_keys, &expansion, mixpeek_read_timeout);
	if (problem)
	{
		ereport(LOG,
				(errmsg("mixpeek_docs: the rows of table %u could not be listed: %s",
						entry->relation, problem)));
		target->blocked_until = limits_now() + PROBLEM_DELAY;
		skip_until(claim->worker, PROBLEM_DELAY);
		return false;
	}
	keys = palloc(sizeof(char *) * (list_length(expansion.keys) + 1));
	foreach(lc, expansion.keys)
		keys[n++] = lfirst(lc);
	outbox_put(entry->relation, OUTBOX_LOOK, entry->collection, keys, n);
	if (n == EXPANSION_CHUNK)
		outbox_put(entry->relation, entry->operation, entry->collection, &keys[n - 1], 1);
	claim->worker->moves++;
	worker_look(claim->worker);
	return true;
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

static void
take_expansion(Claim *claim, OutboxEntry *entry)
{
	if (!is_expanded(claim, entry))
	{
		if (!expand(claim, entry))
			return;
		if (entry->key == NULL)
		{
			outbox_remove_expansions(entry);
			claim->expanded = lappend(claim->expanded, entry);
		}
	}
	claim->taken = lappend(claim->taken, entry);
}

static void
take_entry(Claim *claim, OutboxEntry *entry)
{
	Job		   *job;

	if (entry->operation == OUTBOX_ALL_ROWS || entry->operation == OUTBOX_ALL_STORED)
	{
		take_expansion(claim, entry);
		return;
	}
	job = claim_key(claim, entry->relation, entry->collection, storable_key(entry->key));
	if (job == NULL)
		return;
	if (strlen(entry->key) > MAX_KEY_BYTES)
	{
		job->long_key = strlen(entry->key);
		job->wanted = entry->operation != OUTBOX_DELETE;
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
	claim->taken = lappend(claim->taken, entry);
}

/* Until when no more keys are passed by. */
static double
rest_after_passing(double started)
{
	double		now = limits_now();

	return now + Max((now - started) * PASS_BY_REST, MIN_PASS_BY_REST);
}

/* One pass goes from the outbox's start to its end, a claim at a time. */
static void
take_outbox(Claim *claim, int limit, const Exclusions *exclusions)
{
	Worker	   *worker = claim->worker;
	double		started = limits_now();
	List	   *entries;
	ListCell   *lc;

	if (!may_walk(worker))
		return;
	entries = outbox_read(&worker->position, limit, exclusions->n,
						  exclusions->relations, exclusions->collections);
	if (list_length(entries) < limit)
	{
		ItemPointerSet(&worker->position, 0, 0);
		worker->look = worker->look_again;
		worker->look_again = false;
	}
	if (exclusions->n > 0)
	{
		worker->passed_all = list_length(entries) < limit;
		worker->pass_by_at = worker->passed_all ? rest_after_passing(started) : 0;
	}
	foreach(lc, entries)
		take_entry(claim, lfirst(lc));
}

/*
 * One pass goes through the keys that are due in the order of their times: those that
 * were taken have left dead entries in the index.
 */
static void
take_due(Claim *claim, int limit, const Exclusions *exclusions)
{
	Worker	   *worker = claim->worker;
	double		started = limits_now();
	TimestampTz from = worker->due_position;
	List	   *due;
	ListCell   *lc;

	if (limit == 0)
		return;
	due = document_read_due(&worker->due_position, limit, exclusions->n,
							exclusions->relations, exclusions->collections);
	if (exclusions->n > 0)
	{
		worker->due_position = from;
		worker->pass_due_by_at = rest_after_passing(started);
	}
	claim->excluded = false;
	foreach(lc, due)
	{
		DueKey	   *key = lfirst(lc);

		(void) claim_key(claim, key->relation, key->collection, key->key);
	}
	/* others may stand behind those that were read, or that must wait, or before where the pass began */
	if (list_length(due) == limit ? claim->jobs != NIL || claim->excluded : from != worker->due_position)
		worker->next_due = -1;
	else if (!claim->more_due)
		worker->next_due = document_next_due();
	claim->more_due = list_length(due) == limit;
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

static void
hash_text(pg_cryptohash_ctx *hasher, const char *text, int len, ContentHash *hash)
{
	if (pg_cryptohash_init(hasher) < 0 ||
		pg_cryptohash_update(hasher, (const uint8 *) text, len) < 0 ||
		pg_cryptohash_final(hasher, hash->bytes, HASH_LENGTH) < 0)
		elog(ERROR, "could not compute SHA-256 hash");
	hash->known = true;
}

typedef struct ReadCall
{
	Worker	   *worker;
	Mirror	   *mirror;
	char	  **keys;
	int			nkeys;
	pg_cryptohash_ctx *hasher;	/* one for all rows */
} ReadCall;

/* Called for each row that a mirror's query finds, within the guard. */
static void
render_row(void *arg, const char *key, const TemplateRow *found)
{
	ReadCall   *call = arg;
	const Mirror *mirror = call->mirror;
	Job		   *job = find_job(call->worker, mirror->relation, mirror->arguments.collection, key);
	TemplateRow row = *found;
	StringInfoData content;
	StringInfoData features;

	if (job == NULL || job->wanted)
		return;					/* an equal key with another text */
	if (job->marker)
		row.marker = job->marker;
	initStringInfo(&content);
	initStringInfo(&features);
	template_render(job->mirror->template, &row, &content, &features);
	if (content.len + features.len > MAX_DOCUMENT_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the document has %d bytes, more than the API stores (%d)",
						content.len + features.len, MAX_DOCUMENT_BYTES)));
	job->content = to_utf8(job, content.data, content.len, &job->content_len);
	if (job->mirror->template->has_features)
		job->features = to_utf8(job, features.data, features.len, &job->features_len);
	hash_text(call->hasher, job->content, job->content_len, &job->content_hash);
	if (job->features_len > 0)
		hash_text(call->hasher, job->features, job->features_len, &job->features_hash);
	else
		job->features_hash = NO_HASH;
	job->wanted = true;
	job->connection->bytes += job->content_len + job->features_len;
	job->connection->mean_bytes +=
		(job->content_len + job->features_len - job->connection->mean_bytes) / 10;
}

static void
read_rows(void *arg)
{
	ReadCall   *call = arg;

	call->hasher = pg_cryptohash_create(PG_SHA256);
	mirror_read_rows(call->mirror, call->keys, call->nkeys, render_row, call);
	pg_cryptohash_free(call->hasher);
}

typedef struct KeyCall
{
	Mirror	   *mirror;
	char	   *key;
} KeyCall;

static void
parse_key(void *arg)
{
	KeyCall    *call = arg;

	mirror_check_key(call->mirror, call->key);
}

/* A key of which the table's present key columns can hold none: there is no such row. */
static bool
has_no_row(Mirror *mirror, char *key)
{
	KeyCall		call = {mirror, key};
	int			sqlstate;

	return guard_call_sqlstate(parse_key, &call, &sqlstate) != NULL &&
		ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_DATA_EXCEPTION;
}

static void
unread(Job *job)
{
	forget_rendering(job);
	job->wanted = false;
}

/*
 * Reads the rows of jobs, all of one mirror: together, and where that fails
 * one by one, so that a row that cannot be rendered fails alone.  Where rows take
 * so long that other tables would wait for them, some are left for later.
 */
static void
read_mirror(Worker *worker, Mirror *mirror, List *jobs)
{
	ReadCall	call = {worker, mirror, palloc(sizeof(char *) * list_length(jobs)), 0, NULL};
	double		give_up_at;
	ListCell   *lc;

	worker->working_on = mirror->relation;
	foreach(lc, jobs)
		call.keys[call.nkeys++] = ((Job *) lfirst(lc))->key;
	if (guard_call_within(read_rows, &call, mixpeek_read_timeout) == NULL)
		return;
	give_up_at = limits_now() + MAX_READ_TIMEOUTS * mixpeek_read_timeout / 1000.0;
	foreach(lc, jobs)			/* what it had rendered is rendered again, row by row */
		unread(lfirst(lc));
	foreach(lc, jobs)
	{
		Job		   *job = lfirst(lc);
		char	   *problem;

		call.keys = &job->key;
		call.nkeys = 1;
		job->put_off = limits_now() >= give_up_at;
		if (job->put_off)
			continue;
		problem = guard_call_within(read_rows, &call, mixpeek_read_timeout);
		if (problem)
		{
			unread(job);
			if (!has_no_row(mirror, job->key))
				job->error = MemoryContextStrdup(job->context, problem);
		}
	}
}

static bool
needs_row(const Job *job)
{
	return job->mirror && job->mirror->problem == NULL && !job->refresh && job->long_key == 0;
}

static void
read_all(Worker *worker, List *jobs)
{
	List	   *mirrors = NIL;
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, jobs)
	{
		if (needs_row(lfirst(lc)))
			mirrors = list_append_unique_ptr(mirrors, ((Job *) lfirst(lc))->mirror);
	}
	foreach(lc, mirrors)
	{
		List	   *group = NIL;

		foreach(lc2, jobs)
		{
			if (needs_row(lfirst(lc2)) && ((Job *) lfirst(lc2))->mirror == lfirst(lc))
				group = lappend(group, lfirst(lc2));
		}
		read_mirror(worker, lfirst(lc), group);
	}
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

		job->taken_for_new = job->inserted && needs_row(job);
		if (!job->taken_for_new)
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

		if (!job->taken_for_new || (job->wanted && job->error == NULL && !job->put_off && job->connection->server))
			continue;
		job->taken_for_new = false;
		unclear = lappend(unclear, job);
	}
	document_fetch(unclear);
}

/*
 * The key has a line after all, which may not be committed yet: it is claimed again.
 * Without an intent nothing is sent.
 */
static void
look_at_known(Worker *worker, Job *job)
{
	bool		seen = job->taken_for_new;	/* by now, most likely */

	outbox_put(job->relation, OUTBOX_LOOK, job->collection, &job->key, 1);
	worker->moves++;
	worker_free_job(worker, job);
	if (seen)
		worker_look(worker);
	else
		skip_until(worker, LOCK_DELAY);
}

/*
 * Deciding
 */

/*
 * Unmirrored with its documents to be deleted: the line says on which server, and
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
	job->connection = targets_connection(worker->targets, job->server,
										 ((Form_pg_class) GETSTRUCT(tuple))->relowner);
	job->connection->claimed++;
	job->claims = true;
	ReleaseSysCache(tuple);
}

/* A key that is tried again later anyway, or whose line is gone. */
static bool
is_not_due(const Job *job)
{
	return job->stored && strcmp(job->state, "pending") == 0 &&
		job->next_attempt_at > GetCurrentTimestamp();
}

/* A restore may have brought a line here and left the origin that it belongs to behind. */
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
		job->next_attempt_at > GetCurrentTimestamp();
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
		job->server = pstrdup(job->connection->name);
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
	if (job->connection == NULL)
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
	if (!job->stored && !job->wanted && job->inserted && job->error == NULL &&
		!job->put_off && job->mirror->problem == NULL)
	{
		worker_free_job(worker, job);	/* came and went before anybody looked */
		return false;
	}
	if (is_foreign(worker, job))
		job->error = MemoryContextStrdup(job->context,
										 "the document is another database's: its marker does not begin with this one's origin");
	if (job->long_key > 0 && job->wanted)
		job->error = MemoryContextStrdup(job->context,
										 psprintf("the key has %d bytes, more than can be stored (%d)",
												  job->long_key, MAX_KEY_BYTES));
	job->must_look_up = must_look_up(job);
	prepare_request_parts(job);
	if (job->refresh || job->error || job->put_off || (job->mirror && job->mirror->problem) ||
		job->connection->server == NULL || job_next_step(job) != JOB_END)
		return true;
	if (job->stored && strcmp(job->state, "mirrored") == 0)
		worker_free_job(worker, job);	/* the API has been told all this */
	else
		worker_end_job(worker, job, job->wanted ? OUTCOME_MIRRORED : OUTCOME_FORGOTTEN, NULL);
	return false;
}

/* Recorded as sending, now into the connection's queue; or it ends at once. */
static void
queue_job(Worker *worker, Job *job)
{
	Connection *connection = job->connection;

	if (job->error || (job->mirror && job->mirror->problem))
	{
		tally_count(worker->tally, job->error ? "the row cannot be mirrored" : "the mirror is broken", false);
		worker_end_job(worker, job, OUTCOME_FAILED, job->error ? job->error : job->mirror->problem);
	}
	else if (job->put_off || connection->server == NULL)
	{
		job->attempts--;
		job->next_attempt_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PROBLEM_DELAY * 1000);
		if (!job->put_off)
			connection_report_problem(connection);
		worker_end_job(worker, job, OUTCOME_PENDING, job->put_off ?
					   "other rows of the table took too long to read" : connection->problem);
	}
	else
	{
		dlist_push_tail(&connection->ready, &job->node);
		connection->nready++;
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
	foreach(lc, document_abandoned())
	{
		AbandonedKeys *abandoned = lfirst(lc);
		Connection *connection = targets_connection(worker->targets, abandoned->server,
													abandoned->owner);

		if (ConditionalLockRelationOid(abandoned->relation, AccessShareLock))
			document_recover(abandoned, connection->server ? connection->server->request_timeout : 0);
		else
		{
			worker->unrecovered = true;
			skip_until(worker, LOCK_DELAY);
		}
	}
}

/* A server that could not be used and is another now: its keys have waited for that. */
static void
retry_changed_servers(Worker *worker)
{
	ListCell   *lc;

	foreach(lc, worker->targets->connections)
	{
		Connection *connection = lfirst(lc);

		if (connection->valid || (connection->server && !connection->limits.down))
			continue;
		if (targets_connection(worker->targets, connection->name, connection->owner)->server == NULL)
			continue;
		document_hurry(connection->name, connection->owner);
		worker->moves++;
		worker_look(worker);
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
		job->looks = 0;
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
		targets_invalidate(worker->targets);
		set_text(worker, &worker->origin, id);
	}
	return true;
}

/* Neither keys that are due wait for all changes, nor changes for all of them; of one they take turns. */
static int
half_for_due(Worker *worker, int limit)
{
	if (!worker->look)
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

void
worker_claim(Worker *worker)
{
	Claim		claim = {worker};
	Exclusions	no_room;
	Exclusions	not_up;
	bool		due = may_read_due(worker);
	List	   *intended = NIL;
	List	   *refreshed = NIL;
	List	   *queued = NIL;
	ListCell   *lc;
	int			limit;

	shmem_expect_changes();		/* what is committed from here on may not be seen */
	if (!may_touch_documents(worker))
		return;
	if (worker->unrecovered)
		recover(worker);
	retry_changed_servers(worker);
	limit = widest_room(worker);
	if (limit == 0)
		limit = CLAIM_MAX;		/* of servers that are not known yet */
	if (worker->careful_claims > 0)
		limit = 1;
	collect_exclusions(worker, false, &no_room);
	collect_exclusions(worker, true, &not_up);
	if (due)
		take_due(&claim, half_for_due(worker, limit), &not_up);
	if (worker->look && list_length(claim.jobs) < limit)
		take_outbox(&claim, limit - list_length(claim.jobs), &no_room);

	/* a server may be down for what is due: other keys come first to find out, but there need not be any */
	if (due && not_up.n > no_room.n)
		take_due(&claim, Max(1, limit - list_length(claim.jobs)), &no_room);

	works_on_many(worker);
	fetch_known(claim.jobs);
	foreach(lc, claim.jobs)
	{
		Job		   *job = lfirst(lc);

		if (!job->dirty && job->stored && strcmp(job->state, "mirrored") == 0)
			job->refresh = true;
	}
	read_all(worker, claim.jobs);
	works_on_many(worker);
	fetch_unclear(claim.jobs);
	foreach(lc, claim.jobs)
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
	document_postpone(refreshed);
	outbox_remove(claim.taken);
	foreach(lc, queued)
	{
		Job		   *job = lfirst(lc);

		if (job->stored || ItemPointerIsValid(&job->line))
			queue_job(worker, job);
		else
			look_at_known(worker, job);
	}
}
