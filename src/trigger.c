/*-------------------------------------------------------------------------
 *
 * trigger.c
 *		mixpeek.mirror_row(): says which key may have changed, and no more.
 *
 * The trigger runs in the user's transaction, with the user's rights and
 * settings, so it must not fail, wait, or do what can be done later: it
 * reads no table, sends nothing, and looks at no worker.  What it cannot make
 * out (a table that lost its key) it leaves to the worker, as an entry that
 * says "look at every row".
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "guard.h"
#include "mirror.h"
#include "outbox.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(mixpeek_mirror_row);

/* What a trigger needs to know of its mirror; one a trigger and session. */
typedef struct TriggerCacheEntry
{
	Oid			trigger;		/* hash key */
	Oid			table;			/* the trigger's own */
	Oid			relation;		/* topmost, as stored */
	bool		valid;
	Mirror	   *mirror;
} TriggerCacheEntry;

static HTAB *trigger_cache = NULL;

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
	TriggerData *trigdata;
} FillCall;

static void
fill_entry(void *arg)
{
	FillCall   *call = arg;
	Trigger    *trigger = call->trigdata->tg_trigger;

	call->entry->relation = mirror_topmost_relation(trigger->tgoid);
	call->entry->mirror = mirror_compile(call->trigdata->tg_relation, trigger->tgnargs,
										 trigger->tgargs, CacheMemoryContext, false);
}

/*
 * The trigger's entry, compiled if need be; mirror is NULL where even that
 * failed.  Entries are never removed, so a statement keeps its own.
 */
static TriggerCacheEntry *
lookup_trigger(FunctionCallInfo fcinfo)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	Trigger    *trigger = trigdata->tg_trigger;
	TriggerCacheEntry *entry = fcinfo->flinfo->fn_extra;
	FillCall	call;
	bool		found;

	if (entry && entry->valid && entry->trigger == trigger->tgoid)
		return entry;
	if (trigger_cache == NULL)
		create_cache();
	entry = fcinfo->flinfo->fn_extra = hash_search(trigger_cache, &trigger->tgoid, HASH_ENTER, &found);
	if (found && entry->valid)
		return entry;
	if (found && entry->mirror)
		mirror_free(entry->mirror);
	entry->mirror = NULL;
	entry->table = entry->relation = RelationGetRelid(trigdata->tg_relation);
	entry->valid = true;		/* an invalidation from here on counts */
	call.entry = entry;
	call.trigdata = trigdata;
	if (guard_call(fill_entry, &call) != NULL)
		entry->mirror = NULL;
	return entry;
}

/* The key of a row; NULL if its columns do not make one. */
static char *
row_key(const Key *key, TupleTableSlot *row)
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

static void
add_key(const TriggerCacheEntry *entry, char operation, const char *collection, char *key)
{
	if (key == NULL)
		outbox_add(entry->relation, OUTBOX_ALL_ROWS, collection, NULL);
	else if (!mirror_is_written_back(entry->relation, key))
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
			add_key(entry, OUTBOX_UPDATE, collection, row_key(mirror->key, new));
		return;
	}
	add_key(entry, OUTBOX_DELETE, collection, row_key(mirror->key, old));
	add_key(entry, OUTBOX_INSERT, collection, row_key(mirror->key, new));
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
				collection, row_key(mirror->key, trigdata->tg_trigslot));
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
 * Trigger function: AFTER INSERT OR UPDATE OR DELETE FOR EACH ROW, or AFTER
 * TRUNCATE.  Arguments: the collection, then name=value (see mirror.c).
 * Puts the row's key into the transaction's outbox.  Raises
 * ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED if attached in another way.
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
	entry = lookup_trigger(fcinfo);
	if (TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
		outbox_add(entry->relation, OUTBOX_ALL_STORED, collection, NULL);
	else
		add_row(entry, collection, trigdata);
	return PointerGetDatum(NULL);
}
