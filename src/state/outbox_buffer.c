/*-------------------------------------------------------------------------
 *
 * outbox_buffer.c
 *		mixpeek.outbox as writers see it: entries are added.
 *
 * Adding an entry costs a copy of the row's key.  Entries are inserted into the
 * table in bulk, before commit or when the buffer is full, by heap_insert() and
 * heap_multi_insert(): the writer needs no privilege on the table, and no statement is
 * planned.  An entry that is written early has the subtransaction's id as its xmin, so
 * it is rolled back with the subtransaction; entries in the buffer are dropped by the
 * subtransaction callback.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/heapam.h"
#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/extension.h"
#include "base/text.h"
#include "base/wakeup.h"
#include "executor/tuptable.h"
#include "state/outbox.h"
#include "state/outbox_buffer.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define Natts_outbox	4

/* The buffer is written early when it has so many entries or bytes. */
#define BUFFER_MAX_ENTRIES	8192
#define BUFFER_MAX_BYTES	(1024 * 1024)

/* The number of entries that are inserted at a time. */
#define INSERT_BATCH		512

/* Sizes of the arrays that a session keeps from one transaction to the next. */
#define BUFFER_KEPT_ENTRIES	64
#define BUFFER_KEPT_BYTES	4096
#define BUFFER_KEPT_LEVELS	8

typedef struct BufferEntry
{
	Oid			relation;
	char		operation;
	int			collection;		/* offset in buffer.text */
	int			key;			/* likewise; -1: NULL */
} BufferEntry;

/* The place where a subtransaction's entries begin. */
typedef struct BufferLevel
{
	int			nest_level;
	int			first_entry;
	int			first_byte;
} BufferLevel;

static struct
{
	MemoryContext context;		/* of the three arrays */
	BufferEntry *entries;		/* NULL: the arrays do not exist */
	int			nentries;
	int			max_entries;
	char	   *text;			/* values of type text, aligned */
	int			ntext;
	int			max_text;
	BufferLevel *levels;		/* of open subtransactions with entries */
	int			nlevels;
	int			max_levels;
	int			longest;		/* length of the longest text in bytes */
	int			last_collection;	/* offset of the last entry's collection,
									 * which the next one may share; -1: none */
}			buffer;

static void
create_buffer(void)
{
	if (buffer.context == NULL)
		buffer.context = AllocSetContextCreate(TopMemoryContext, "mixpeek outbox buffer",
											   ALLOCSET_DEFAULT_SIZES);
	buffer.max_entries = BUFFER_KEPT_ENTRIES;
	buffer.max_text = BUFFER_KEPT_BYTES;
	buffer.max_levels = BUFFER_KEPT_LEVELS;
	buffer.text = MemoryContextAlloc(buffer.context, buffer.max_text);
	buffer.levels = MemoryContextAlloc(buffer.context, sizeof(BufferLevel) * buffer.max_levels);

	/* last, because it says that all three arrays exist */
	buffer.entries = MemoryContextAlloc(buffer.context, sizeof(BufferEntry) * buffer.max_entries);
}

/* Empty the buffer at the end of a transaction.  Free arrays that have grown. */
static void
empty_buffer(void)
{
	buffer.nentries = buffer.ntext = buffer.nlevels = buffer.longest = 0;
	if (buffer.max_entries > BUFFER_KEPT_ENTRIES || buffer.max_text > BUFFER_KEPT_BYTES ||
		buffer.max_levels > BUFFER_KEPT_LEVELS)
	{
		MemoryContextReset(buffer.context);
		buffer.entries = NULL;
	}
}

static text *
text_at(int offset)
{
	return (text *) (buffer.text + offset);
}

/* Append a text to buffer.text; return its offset. */
static int
add_text(const char *s, int len)
{
	int			size = INTALIGN(len + VARHDRSZ);
	int			offset = buffer.ntext;

	if (buffer.ntext + size > buffer.max_text)
	{
		int			max_text = buffer.max_text;

		while (buffer.ntext + size > max_text)
			max_text *= 2;
		buffer.text = repalloc_huge(buffer.text, max_text);
		buffer.max_text = max_text;
	}
	SET_VARSIZE(text_at(offset), len + VARHDRSZ);
	memcpy(VARDATA(text_at(offset)), s, len);
	buffer.ntext += size;
	buffer.longest = Max(buffer.longest, len);

	return offset;
}

/* Open a level for the current subtransaction unless it has one. */
static void
enter_level(void)
{
	int			nest_level = GetCurrentTransactionNestLevel();
	BufferLevel *level;

	if (buffer.nlevels > 0 &&
		buffer.levels[buffer.nlevels - 1].nest_level == nest_level)
		return;
	if (buffer.nlevels == buffer.max_levels)
	{
		buffer.levels = repalloc(buffer.levels, sizeof(BufferLevel) * buffer.max_levels * 2);
		buffer.max_levels *= 2;
	}
	level = &buffer.levels[buffer.nlevels++];
	level->nest_level = nest_level;
	level->first_entry = buffer.nentries;
	level->first_byte = buffer.ntext;
	buffer.last_collection = -1;
}

/* Set the values of an entry's columns. */
static void
set_values(const BufferEntry *entry, Datum *values, bool *isnull)
{
	memset(isnull, 0, sizeof(bool) * Natts_outbox);
	values[0] = ObjectIdGetDatum(entry->relation);
	values[1] = CharGetDatum(entry->operation);
	values[2] = PointerGetDatum(text_at(entry->collection));
	isnull[3] = entry->key < 0;
	values[3] = isnull[3] ? (Datum) 0 : PointerGetDatum(text_at(entry->key));
}

/* Insert a single, short entry, as most transactions do, without the overhead of insert_entries(). */
static void
insert_entry(Relation outbox, const BufferEntry *entry)
{
	Datum		values[Natts_outbox];
	bool		isnull[Natts_outbox];
	HeapTuple	tuple;

	set_values(entry, values, isnull);
	tuple = heap_form_tuple(RelationGetDescr(outbox), values, isnull);
	heap_insert(outbox, tuple, GetCurrentCommandId(true), 0, NULL);
	outbox_note_written(&tuple->t_self, &tuple->t_self);
	heap_freetuple(tuple);
}

static void
insert_entries(Relation outbox, const BufferEntry *entries, int nentries)
{
	int			nslots = Min(nentries, INSERT_BATCH);
	TupleTableSlot **slots = palloc(sizeof(TupleTableSlot *) * nslots);
	BulkInsertState bistate = nentries > INSERT_BATCH ? GetBulkInsertState() : NULL;

	for (int i = 0; i < nslots; i++)
		slots[i] = table_slot_create(outbox, NULL);
	for (int done = 0; done < nentries; done += nslots)
	{
		int			n = Min(nslots, nentries - done);

		for (int i = 0; i < n; i++)
		{
			ExecClearTuple(slots[i]);
			set_values(&entries[done + i], slots[i]->tts_values, slots[i]->tts_isnull);
			ExecStoreVirtualTuple(slots[i]);
		}
		heap_multi_insert(outbox, slots, n, GetCurrentCommandId(true), 0, bistate);
		for (int i = 0; i < n; i++)
			outbox_note_written(&slots[i]->tts_tid, &slots[i]->tts_tid);
	}
	for (int i = 0; i < nslots; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	pfree(slots);
	if (bistate)
		FreeBulkInsertState(bistate);
}

/* The oid of mixpeek.outbox; InvalidOid: it must be looked up. */
static Oid	outbox_oid = InvalidOid;

Oid
outbox_relid(void)
{
	if (!OidIsValid(outbox_oid))
		outbox_oid = extension_object(EXTENSION_OUTBOX);
	return outbox_oid;
}

static void
invalidate_outbox(Datum arg, Oid relid)
{
	if (relid == outbox_oid || relid == InvalidOid)
		outbox_oid = InvalidOid;
}

/* Insert many entries, or long ones, which may be TOASTed. */
static void
insert_many(Relation outbox, const BufferEntry *entries, int nentries)
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "mixpeek outbox insert",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(work);

	PushActiveSnapshot(GetTransactionSnapshot());
	insert_entries(outbox, entries, nentries);
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(work);
}

/* Write the buffer's entries from first on into the table, and drop them. */
static void
flush_from(int first)
{
	Relation	outbox;

	if (first >= buffer.nentries)
		return;
	if (!OidIsValid(outbox_relid()))
		return;					/* the extension was dropped */
	outbox = table_open(outbox_oid, RowExclusiveLock);
	if (buffer.nentries - first == 1 && buffer.longest < TOAST_TUPLE_TARGET / 2 && !COMPAT_INSERT_WANTS_SNAPSHOT)
		insert_entry(outbox, &buffer.entries[first]);
	else
		insert_many(outbox, buffer.entries + first, buffer.nentries - first);
	table_close(outbox, NoLock);
	buffer.nentries = first;
}

/*
 * Write the current subtransaction's entries.  Those of outer ones must not be written within
 * it: they would be rolled back with it.
 */
static void
flush_level(void)
{
	BufferLevel *level = &buffer.levels[buffer.nlevels - 1];

	flush_from(level->first_entry);
	buffer.ntext = level->first_byte;
	buffer.last_collection = -1;
}

static bool
is_full(void)
{
	return buffer.nentries >= BUFFER_MAX_ENTRIES || buffer.ntext >= BUFFER_MAX_BYTES;
}

/* Check whether an entry is the same as the one before it. */
static bool
repeats_last(const BufferEntry *entry, const char *key, int key_len)
{
	BufferEntry *last;

	if (buffer.nentries <= buffer.levels[buffer.nlevels - 1].first_entry)
		return false;
	last = &buffer.entries[buffer.nentries - 1];
	return last->relation == entry->relation && last->operation == entry->operation &&
		last->collection == entry->collection && (last->key < 0) == (key == NULL) &&
		(key == NULL || text_has_bytes(text_at(last->key), key, key_len));
}

void
outbox_add(Oid relation, char operation, const char *collection, const char *key)
{
	int			collection_len = strlen(collection);
	int			key_len = key ? strlen(key) : 0;
	BufferEntry *entry;

	if (buffer.entries == NULL)
		create_buffer();
	enter_level();
	if (is_full())
		flush_level();
	if (buffer.nentries == buffer.max_entries)
	{
		buffer.entries = repalloc_huge(buffer.entries,
									   sizeof(BufferEntry) * buffer.max_entries * 2);
		buffer.max_entries *= 2;
	}
	if (buffer.last_collection < 0 ||
		!text_has_bytes(text_at(buffer.last_collection), collection, collection_len))
		buffer.last_collection = add_text(collection, collection_len);

	entry = &buffer.entries[buffer.nentries];
	entry->relation = relation;
	entry->operation = operation;
	entry->collection = buffer.last_collection;

	if (repeats_last(entry, key, key_len))
		return;
	entry->key = key ? add_text(key, key_len) : -1;
	buffer.nentries++;
}

void
outbox_add_all(Oid relation, const char *collection)
{
	outbox_add(relation, OUTBOX_ALL_STORED, collection, NULL);
	outbox_add(relation, OUTBOX_ALL_ROWS, collection, NULL);
}

void
outbox_note_written(ItemPointer first, ItemPointer last)
{
	wakeup_add_blocks(ItemPointerGetBlockNumber(first), ItemPointerGetBlockNumber(last));
}

void
outbox_note_unknown(void)
{
	wakeup_add_blocks(0, MaxBlockNumber);
}

static void
flush_at_transaction_event(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			flush_from(0);
			break;
		default:
			empty_buffer();
			break;
	}
}

/* Give the entries of a released subtransaction to its parent. */
static void
merge_level(int nest_level)
{
	BufferLevel *level = &buffer.levels[buffer.nlevels - 1];

	if (buffer.nlevels > 1 && level[-1].nest_level == nest_level - 1)
		buffer.nlevels--;
	else
		level->nest_level = nest_level - 1;
}

static void
at_subtransaction_event(SubXactEvent event, SubTransactionId mySubid,
						SubTransactionId parentSubid, void *arg)
{
	int			nest_level = GetCurrentTransactionNestLevel();
	BufferLevel *level;

	if (buffer.nlevels == 0)
		return;
	level = &buffer.levels[buffer.nlevels - 1];
	if (level->nest_level != nest_level)
		return;
	switch (event)
	{
		case SUBXACT_EVENT_PRE_COMMIT_SUB:
			if (is_full())
				flush_level();
			break;
		case SUBXACT_EVENT_COMMIT_SUB:
			merge_level(nest_level);
			break;
		case SUBXACT_EVENT_ABORT_SUB:
			buffer.nentries = level->first_entry;
			buffer.ntext = level->first_byte;
			buffer.last_collection = -1;
			buffer.nlevels--;
			break;
		default:
			break;
	}
}

void
outbox_init(void)
{
	RegisterXactCallback(flush_at_transaction_event, NULL);
	RegisterSubXactCallback(at_subtransaction_event, NULL);
	CacheRegisterRelcacheCallback(invalidate_outbox, (Datum) 0);
}
