/*-------------------------------------------------------------------------
 *
 * trigger.c
 *		mixpeek.mirror_row(): the trigger that notes which keys may have changed.
 *
 * The trigger runs in the user's transaction, with the user's rights and
 * settings, so it must not fail, wait, or do what can be done later: it
 * reads no table, sends nothing, and does not depend on a worker.  If it cannot
 * determine the key (the table has lost its primary key), it leaves an entry that makes
 * the worker check every row.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/guard.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "entry/trigger.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "mirror/mirror.h"
#include "mirror/source_table.h"
#include "mirror/trigger_definition.h"
#include "state/outbox.h"
#include "state/outbox_buffer.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(mixpeek_mirror_row);

/* What the trigger function needs to know of a trigger and its mirror, kept for the session. */
typedef struct TriggerCacheEntry
{
	Oid			trigger;		/* hash key */
	Oid			table;			/* of the trigger, maybe a partition */
	Oid			relation;		/* topmost table, as in the outbox */
	bool		valid;			/* false: compile again */
	Mirror	   *mirror;			/* NULL if compiling failed */
} TriggerCacheEntry;

static HTAB *trigger_cache = NULL;

/* Relation cache callback. */
static void
invalidate_table(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	TriggerCacheEntry *entry;

	hash_seq_init(&status, trigger_cache);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (relid == InvalidOid || entry->table == relid)
			entry->valid = false;
	}
}

static void
create_cache(void)
{
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(TriggerCacheEntry);
	ctl.hcxt = CacheMemoryContext;
	trigger_cache = hash_create("mixpeek triggers", 32, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(invalidate_table, (Datum) 0);
}

typedef struct FillCall
{
	TriggerCacheEntry *entry;
	Relation	rel;
	Trigger    *trigger;
} FillCall;

static void
fill_entry(void *arg)
{
	FillCall   *call = arg;

	call->entry->relation = trigger_definition_topmost_relation(call->trigger->tgoid);
	call->entry->mirror = mirror_compile(call->rel, call->trigger->tgnargs, call->trigger->tgargs,
										 call->trigger->tgqual, CacheMemoryContext,
										 MIRROR_RAISE_NOTHING);
}

/*
 * Return the trigger's cache entry, compiled again if it is not valid.  Entries are never
 * removed, so a pointer to the one of the last call can be kept.
 */
static TriggerCacheEntry *
lookup_trigger(Relation rel, Trigger *trigger)
{
	static TriggerCacheEntry *last = NULL;
	TriggerCacheEntry *entry = last;
	FillCall	call;
	bool		found;

	if (entry && entry->valid && entry->trigger == trigger->tgoid)
		return entry;
	if (trigger_cache == NULL)
		create_cache();
	entry = last = hash_search(trigger_cache, &trigger->tgoid, HASH_ENTER, &found);
	if (found && entry->valid)
		return entry;
	if (found && entry->mirror)
		mirror_free(entry->mirror);
	entry->mirror = NULL;
	entry->table = entry->relation = RelationGetRelid(rel);
	entry->valid = true;		/* before compiling, which may invalidate it */
	call.entry = entry;
	call.rel = rel;
	call.trigger = trigger;
	if (guard_call(fill_entry, &call) != NULL)
		entry->mirror = NULL;
	return entry;
}

/* Return the text of a row's key; NULL if one of its columns is null. */
static char *
make_row_key(const Key *key, TupleTableSlot *row)
{
	Datum		values[INDEX_MAX_KEYS];

	for (int i = 0; i < key->ncolumns; i++)
	{
		bool		isnull;

		values[i] = slot_getattr(row, key->columns[i].attnum, &isnull);
		if (isnull)
			return NULL;
	}
	return key_to_text(key, values);
}

static bool
same_key(const Key *key, TupleTableSlot *old, TupleTableSlot *new)
{
	for (int i = 0; i < key->ncolumns; i++)
	{
		if (!key_same_column(old, new, key->columns[i].attnum))
			return false;
	}
	return true;
}

/* Check whether no column that is part of the document has changed. */
static bool
same_content(const Mirror *mirror, TupleTableSlot *old, TupleTableSlot *new)
{
	int			attnum = -1;

	if (mirror->template == NULL || COMPAT_HAS_VIRTUAL_COLUMNS(new->tts_tupleDescriptor))
		return false;
	while ((attnum = bms_next_member(mirror->template->used, attnum)) >= 0)
	{
		if (!key_same_column(old, new, attnum))
			return false;
	}
	return true;
}

/* Add an entry to the outbox; without a key, one for all rows. */
static void
add_key(const TriggerCacheEntry *entry, char operation, const char *collection, char *key)
{
	if (key == NULL)
		outbox_add(entry->relation, OUTBOX_ALL_ROWS, collection, NULL);
	else if (!source_table_is_written_back(entry->relation, key))
		outbox_add(entry->relation, operation, collection, key);
}

static void
add_update(const TriggerCacheEntry *entry, const char *collection, TriggerData *trigdata)
{
	const Mirror *mirror = entry->mirror;
	TupleTableSlot *old = trigdata->tg_trigslot;
	TupleTableSlot *new = trigdata->tg_newslot;

	if (same_key(mirror->key, old, new))
	{
		if (!same_content(mirror, old, new))
			add_key(entry, OUTBOX_UPDATE, collection, make_row_key(mirror->key, new));
		return;
	}
	add_key(entry, OUTBOX_DELETE, collection, make_row_key(mirror->key, old));
	add_key(entry, OUTBOX_INSERT, collection, make_row_key(mirror->key, new));
}

static void
add_row(const TriggerCacheEntry *entry, const char *collection, TriggerData *trigdata)
{
	const Mirror *mirror = entry->mirror;

	if (mirror == NULL || mirror->key == NULL)
		add_key(entry, OUTBOX_ALL_ROWS, collection, NULL);
	else if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
		add_update(entry, collection, trigdata);
	else
		add_key(entry, TRIGGER_FIRED_BY_INSERT(trigdata->tg_event) ? OUTBOX_INSERT : OUTBOX_DELETE,
				collection, make_row_key(mirror->key, trigdata->tg_trigslot));
}

static void
check_protocol(FunctionCallInfo fcinfo)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("mixpeek.mirror_row() must be called as a trigger")));
	if (!TRIGGER_FIRED_AFTER(trigdata->tg_event) ||
		TRIGGER_FIRED_FOR_ROW(trigdata->tg_event) == TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("mixpeek.mirror_row() must be fired AFTER INSERT, UPDATE or DELETE FOR EACH ROW, or AFTER TRUNCATE")));
}

/*
 * mixpeek.mirror_row(): trigger function, AFTER INSERT OR UPDATE OR DELETE FOR EACH
 * ROW, or AFTER TRUNCATE.  Arguments: the collection, then name=value (see arguments.h).
 * Adds the row's key to the transaction's entries for the outbox.  Raises
 * ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED if it is called in another way.
 */
Datum
mixpeek_mirror_row(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	TriggerCacheEntry *entry;
	const char *collection;

	check_protocol(fcinfo);
	if (trigdata->tg_trigger->tgnargs == 0)
		return PointerGetDatum(NULL);

	collection = trigdata->tg_trigger->tgargs[0];
	if (!arguments_is_collection(collection))
		return PointerGetDatum(NULL);
	entry = lookup_trigger(trigdata->tg_relation, trigdata->tg_trigger);
	if (TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
		outbox_add(entry->relation, OUTBOX_ALL_STORED, collection, NULL);
	else
		add_row(entry, collection, trigdata);
	return PointerGetDatum(NULL);
}

/*
 * Statements that cannot change a document
 *
 * For each row that an UPDATE changes, an AFTER trigger costs an event and two fetches before
 * it can find that nothing of the document has changed.  Most of the time the statement
 * shows this beforehand, because it sets other columns.  Then it is started without the
 * trigger.  The effect is that of AFTER UPDATE OF (the document's columns), but it is
 * decided for each statement, so BEFORE triggers, which may change any column, are taken into
 * account, and ALTER TABLE is never refused because a trigger lists a column.
 */

static ExecutorStart_hook_type prev_executor_start = NULL;

/* Check whether a statement that sets these columns keeps a column's value.  A generated column may depend on others. */
static bool
keeps_column(Relation rel, AttrNumber attnum, const Bitmapset *updated)
{
	return TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attgenerated == '\0' &&
		!bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, updated);
}

/* Check whether a statement that sets these columns can change neither the key nor the document. */
static bool
keeps_document(Relation rel, const Mirror *mirror, const Bitmapset *updated)
{
	int			attnum = -1;

	if (mirror == NULL || mirror->key == NULL || mirror->template == NULL)
		return false;
	for (int i = 0; i < mirror->key->ncolumns; i++)
	{
		if (!keeps_column(rel, mirror->key->columns[i].attnum, updated))
			return false;
	}
	while ((attnum = bms_next_member(mirror->template->used, attnum)) >= 0)
	{
		if (!keeps_column(rel, attnum, updated))
			return false;
	}
	return true;
}

static bool
fires_after_update(const Trigger *trigger)
{
	return TRIGGER_TYPE_MATCHES(trigger->tgtype, TRIGGER_TYPE_ROW, TRIGGER_TYPE_AFTER,
								TRIGGER_TYPE_UPDATE);
}

/*
 * Make a statement skip the triggers of mirrors whose documents it cannot change.  The
 * descriptor is the executor's own copy, which is freed with the statement.
 */
static void
skip_mirrors(ResultRelInfo *target, const Bitmapset *updated)
{
	Relation	rel = target->ri_RelationDesc;
	TriggerDesc *triggers = target->ri_TrigDesc;

	triggers->trig_update_after_row = false;
	for (int i = 0; i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (!fires_after_update(trigger))
			continue;
		if (trigger->tgfoid == mirror_function() &&
			keeps_document(rel, lookup_trigger(rel, trigger)->mirror, updated))
			trigger->tgtype &= ~TRIGGER_TYPE_UPDATE;
		else
			triggers->trig_update_after_row = true;
	}
}

static void
start_without_mirrors(QueryDesc *query, int eflags)
{
	ListCell   *lc;

	if (prev_executor_start)
		prev_executor_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);

	foreach(lc, query->estate->es_opened_result_relations)
	{
		ResultRelInfo *target = lfirst(lc);
		TriggerDesc *triggers = target->ri_TrigDesc;
		Bitmapset  *updated;

		if (triggers == NULL || !triggers->trig_update_after_row || triggers->trig_update_before_row)
			continue;
		updated = ExecGetUpdatedCols(target, query->estate);
		if (!bms_is_empty(updated))
			skip_mirrors(target, updated);
	}
}

void
trigger_init(void)
{
	prev_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = start_without_mirrors;
}
