/*-------------------------------------------------------------------------
 *
 * expansion.c
 *		Entries that stand for many keys: "all rows" and "all records" of a mirror.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/clock.h"
#include "base/crash.h"
#include "base/guard.h"
#include "base/settings.h"
#include "base/statement.h"
#include "catalog/pg_type.h"
#include "mirror/native_rows.h"
#include "mirror/trigger_definition.h"
#include "state/document_table.h"
#include "state/key_table.h"
#include "state/mirror_records.h"
#include "state/outbox.h"
#include "worker/definition_check.h"
#include "worker/delegate.h"
#include "worker/expansion.h"
#include "worker/worker.h"

/* Keys that such an entry becomes at a time. */
#define EXPANSION_CHUNK	1000

/* Seconds after which the keys of a mirror are listed again that could not be. */
#define PROBLEM_DELAY	60

bool
expansion_is_one(const OutboxEntry *entry)
{
	return entry->operation == OUTBOX_ALL_ROWS || entry->operation == OUTBOX_ALL_STORED;
}

/*
 * Listing keys
 */

/* For guard_call_within(). */
typedef struct ListCall
{
	CachedMirror *cached;
	const OutboxEntry *entry;
	List	   *keys;
	bool		blocked;		/* a partition is locked */
} ListCall;

static void
list_keys(void *arg)
{
	ListCall   *call = arg;
	const OutboxEntry *entry = call->entry;

	if (entry->operation == OUTBOX_ALL_STORED)
		call->keys = mirror_records_scan_keys(entry->relation, entry->collection, entry->key, EXPANSION_CHUNK);
	else if (call->cached->mirror)
		call->blocked = !native_rows_scan_keys(call->cached->mirror, entry->key, EXPANSION_CHUNK, &call->keys);
}

void
expansion_put_off(Worker *worker, CachedMirror *cached, const char *problem)
{
	ereport(LOG,
			(errmsg("mixpeek_docs: the rows of table %u could not be listed: %s",
					cached->relation, problem)));
	key_table_set_problem(cached->relation, cached->collection,
						  psprintf("the rows could not be listed: %s", problem));
	cached->unlisted = true;
	cached->blocked_until = clock_seconds() + PROBLEM_DELAY;
	schedule_retry_in(worker, PROBLEM_DELAY);
}

/*
 * Check whether a mirror has no record, although it may have documents that no statement of this extension
 * has left behind: mixpeek.adopt(origin => ...) was called before the mirror was made.  Then documents of
 * rows that are gone must be searched for.
 */
static bool
may_have_unknown_documents(Worker *worker, const OutboxEntry *entry)
{
	CachedMirror *cached = mirror_cache_get(worker->cache, entry->relation, entry->collection);

	return cached->blocked_until == 0 && cached->mirror && mirror_records_were_forgotten("", "", NULL) &&
		!document_table_has_mirror(entry->relation, entry->collection, NULL);
}

bool
expansion_fail(Worker *worker, Expansions *expansions, CachedMirror *cached, OutboxEntry *entry, const char *problem)
{
	if (definition_check(worker, cached, true) || definition_has_changed(cached))
	{
		expansions->done = lappend(expansions->done, entry);
		return true;
	}
	expansion_put_off(worker, cached, problem);
	return false;
}

/* Note that a mirror's rows can be listed. */
static void
note_listed(CachedMirror *cached)
{
	if (cached->unlisted)
		key_table_set_problem(cached->relation, cached->collection, NULL);
	cached->unlisted = false;
}

void
expansion_put_keys(Worker *worker, Expansions *expansions, CachedMirror *cached, OutboxEntry *entry, List *keys)
{
	char	  **texts = palloc(sizeof(char *) * (list_length(keys) + 1));
	int			n = 0;
	ListCell   *lc;

	if (entry->operation == OUTBOX_ALL_ROWS)
		note_listed(cached);
	foreach(lc, keys)
		texts[n++] = lfirst(lc);
	outbox_put(entry->relation, OUTBOX_RECHECK, entry->collection, texts, n, &worker->schedule.scan.news);
	if (n == EXPANSION_CHUNK)
		outbox_put(entry->relation, entry->operation, entry->collection, &texts[n - 1], 1,
				   &worker->schedule.scan.news);
	if (entry->key == NULL)
	{
		char	   *first_page = NULL;

		if (entry->operation == OUTBOX_ALL_ROWS && may_have_unknown_documents(worker, entry))
			outbox_put(entry->relation, OUTBOX_ALL_LISTED, entry->collection, &first_page, 1,
					   &worker->schedule.scan.news);
		outbox_remove_expansions(entry);
		expansions->from_start = lappend(expansions->from_start, entry);
	}
	expansions->done = lappend(expansions->done, entry);
	worker->moves++;
	worker->schedule.more = true;
}

/* Have an agent list the keys of a mirror that the worker may not read; false if none can now. */
static bool
delegate_list(Worker *worker, CachedMirror *cached, OutboxEntry *entry)
{
	if (cached->mirror->problem)
	{
		expansion_put_off(worker, cached, cached->mirror->problem);
		return false;
	}
	if (!delegate_is_served(worker, cached, true))
		return false;
	delegate_scan(worker, cached, entry, EXPANSION_CHUNK);
	return true;
}

/* List the next keys of an entry, and put them into the outbox; false if it is left for later. */
static bool
expand_entry(Worker *worker, Expansions *expansions, CachedMirror *cached, OutboxEntry *entry)
{
	ListCall	call = {.cached = cached,.entry = entry};
	char	   *problem;

	crash_note_stored(entry->relation);
	problem = guard_call_within(list_keys, &call, mixpeek_read_timeout, NULL);
	crash_note_clear();
	if (problem)
		return expansion_fail(worker, expansions, cached, entry, problem);
	if (call.blocked)
	{
		cached->blocked_until = clock_seconds() + LOCK_DELAY;
		schedule_retry_in(worker, LOCK_DELAY);
		return false;
	}
	expansion_put_keys(worker, expansions, cached, entry, call.keys);
	return true;
}

/*
 * Taking entries
 */

/*
 * Check whether an expansion of this claim, which began with the first key, stands for the entry as
 * well.
 */
static bool
is_expanded(const Expansions *expansions, const OutboxEntry *entry)
{
	ListCell   *lc;

	foreach(lc, expansions->from_start)
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
 * Check whether the entry has been taken in this claim already.  Its block may be in several sets of
 * the scan; taken twice, the keys behind it would be listed twice.
 */
static bool
is_taken(const Worker *worker, const Expansions *expansions, OutboxEntry *entry)
{
	ListCell   *lc;

	foreach(lc, expansions->done)
	{
		OutboxEntry *other = lfirst(lc);

		if (ItemPointerEquals(&other->tid, &entry->tid) && other->xmin == entry->xmin)
			return true;
	}
	return delegate_is_listing(worker, entry);
}

bool
expansion_take(Worker *worker, Expansions *expansions, OutboxEntry *entry)
{
	CachedMirror *cached;

	if (is_taken(worker, expansions, entry))
		return true;
	if (is_expanded(expansions, entry))
	{
		expansions->done = lappend(expansions->done, entry);
		return true;
	}
	worker->recovery.current_table = entry->relation;
	cached = mirror_cache_get(worker->cache, entry->relation, entry->collection);
	if (cached->blocked_until > 0)
	{
		schedule_retry_in(worker, LOCK_DELAY);
		return false;
	}
	(void) definition_check(worker, cached, false);
	if (definition_has_changed(cached))
	{
		expansions->done = lappend(expansions->done, entry);
		return true;			/* all is listed anew */
	}
	if (entry->operation == OUTBOX_ALL_ROWS && cached->mirror && !cached->mirror->native)
		return delegate_list(worker, cached, entry);
	return expand_entry(worker, expansions, cached, entry);
}

/*
 * Unlogged tables
 */

/* Return the row triggers of mirrors on unlogged tables, and on unlogged partitions, as a List of Oid. */
static List *
find_unlogged_triggers(void)
{
	static Statement query = {
		"SELECT t.oid FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid"
		" WHERE c.relpersistence = 'u' AND t.tgfoid = $1 AND t.tgtype & 1 <> 0",
		1, {OIDOID}
	};
	Datum		args[1];
	List	   *triggers;

	args[0] = ObjectIdGetDatum(mirror_function());
	statement_run(&query, args, NULL);
	triggers = statement_oids();
	statement_end();
	return triggers;
}

void
expansion_recheck_unlogged(Worker *worker)
{
	ListCell   *lc;

	foreach(lc, find_unlogged_triggers())
	{
		TriggerDefinition *definition = trigger_definition_read(lfirst_oid(lc), NULL);
		char	   *no_key = NULL;

		if (definition && definition->nargs > 0 && arguments_is_collection(definition->args[0]))
			outbox_put(trigger_definition_topmost_relation(lfirst_oid(lc)), OUTBOX_ALL_STORED, definition->args[0],
					   &no_key, 1, &worker->schedule.scan.news);
	}
}
