/*-------------------------------------------------------------------------
 *
 * outbox_buffer.c
 *		mixpeek.outbox: the keys that are still to be looked at.
 *
 * The writer's side costs a copy of the key a row.  Entries are appended to
 * the table in bulk, before commit or when the buffer is full, by the heap's
 * own inserts: the writer needs no right on the table, and no statement is
 * planned.  Entries written early carry the writing subtransaction's id, so a
 * rollback takes them along; those still in the buffer are dropped by the
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
#include "base/shmem.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "state/outbox.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#define Natts_outbox	4

/* Entries after which a transaction's buffer is written early. */
#define BUFFER_MAX_ENTRIES	8192
#define BUFFER_MAX_BYTES	(1024 * 1024)
#define INSERT_BATCH		512

/* What of it a session keeps from one transaction to the next. */
#define BUFFER_KEPT_ENTRIES	64
#define BUFFER_KEPT_BYTES	4096
#define BUFFER_KEPT_LEVELS	8

typedef struct BufferEntry
{
	Oid			relation;
	char		operation;
	int			collection;		/* offsets of texts */
	int			key;			/* -1: NULL */
} BufferEntry;

/* Where a subtransaction's entries begin. */
typedef struct BufferLevel
{
	int			nest_level;
	int			first_entry;
	int			first_byte;
} BufferLevel;

static struct
{
	MemoryContext context;		/* of the three arrays; NULL: they are not
								 * made */
	BufferEntry *entries;
	int			nentries;
	int			max_entries;
	char	   *text;			/* values of type text, each aligned */
	int			ntext;
	int			max_text;
	BufferLevel *levels;		/* none: the transaction has no buffer */
	int			nlevels;
	int			max_levels;
	int			longest;		/* bytes of one text */
	int			last_collection;	/* offset, to share its text; -1: none */
	BlockSet	written;		/* blocks into which the transaction has put
								 * something */
} buffer;

static void
buffer_create(void)
{
	if (buffer.context == NULL)
		buffer.		context = AllocSetContextCreate(TopMemoryContext, "mixpeek outbox buffer",
													ALLOCSET_DEFAULT_SIZES);
	buffer.		max_entries = BUFFER_KEPT_ENTRIES;
	buffer.		max_text = BUFFER_KEPT_BYTES;
	buffer.		max_levels = BUFFER_KEPT_LEVELS;
	buffer.		text = MemoryContextAlloc(buffer.context, buffer.max_text);
	buffer.		levels = MemoryContextAlloc(buffer.context, sizeof(BufferLevel) * buffer.max_levels);

	/* last, since it says that all are there */
	buffer.		entries = MemoryContextAlloc(buffer.context, sizeof(BufferEntry) * buffer.max_entries);
}

/* At a transaction's end.  What has grown is given back. */
static void
buffer_forget(void)
{
	buffer.		nentries = buffer.ntext = buffer.nlevels = buffer.longest = 0;
	buffer.		written.n = 0;

	if (buffer.max_entries > BUFFER_KEPT_ENTRIES || buffer.max_text > BUFFER_KEPT_BYTES ||
		buffer.max_levels > BUFFER_KEPT_LEVELS)
	{
		MemoryContextReset(buffer.context);
		buffer.		entries = NULL;
	}
}

static text *
buffer_text(int offset)
{
	return (text *) (buffer.text + offset);
}

static int
buffer_add_text(const char *s, int len)
{
	int			size = INTALIGN(len + VARHDRSZ);
	int			offset = buffer.ntext;

	if (buffer.ntext + size > buffer.max_text)
	{
		int			max_text = buffer.max_text;

		while (buffer.ntext + size > max_text)
			max_text *= 2;
		buffer.		text = repalloc_huge(buffer.text, max_text);
		buffer.		max_text = max_text;
	}
	SET_VARSIZE(buffer_text(offset), len + VARHDRSZ);
	memcpy(VARDATA(buffer_text(offset)), s, len);
	buffer.		ntext += size;
	buffer.		longest = Max(buffer.longest, len);

	return offset;
}

/* Opens a level for the current subtransaction unless it has one. */
static void
buffer_enter_level(void)
{
	int			nest_level = GetCurrentTransactionNestLevel();
	BufferLevel *level;

	if (buffer.nlevels > 0 &&
		buffer.levels[buffer.nlevels - 1].nest_level == nest_level)
		return;
	if (buffer.nlevels == buffer.max_levels)
	{
		buffer.		levels = repalloc(buffer.levels, sizeof(BufferLevel) * buffer.max_levels * 2);
		buffer.		max_levels *= 2;
	}
	level = &buffer.levels[buffer.nlevels++];
	level->nest_level = nest_level;
	level->first_entry = buffer.nentries;
	level->first_byte = buffer.ntext;
	buffer.		last_collection = -1;
}

static void
entry_values(const BufferEntry *entry, Datum *values, bool *isnull)
{
	memset(isnull, 0, sizeof(bool) * Natts_outbox);
	values[0] = ObjectIdGetDatum(entry->relation);
	values[1] = CharGetDatum(entry->operation);
	values[2] = PointerGetDatum(buffer_text(entry->collection));
	isnull[3] = entry->key < 0;
	values[3] = isnull[3] ? (Datum) 0 : PointerGetDatum(buffer_text(entry->key));
}

static void
note_written(ItemPointer tid)
{
	BlockNumber block = ItemPointerGetBlockNumber(tid);

	blockset_add(&buffer.written, block, block);
}

/* What most transactions have. */
static void
insert_entry(Relation outbox, const BufferEntry *entry)
{
	Datum		values[Natts_outbox];
	bool		isnull[Natts_outbox];
	HeapTuple	tuple;

	entry_values(entry, values, isnull);
	tuple = heap_form_tuple(RelationGetDescr(outbox), values, isnull);
	heap_insert(outbox, tuple, GetCurrentCommandId(true), 0, NULL);
	note_written(&tuple->t_self);
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
			entry_values(&entries[done + i], slots[i]->tts_values, slots[i]->tts_isnull);
			ExecStoreVirtualTuple(slots[i]);
		}
		heap_multi_insert(outbox, slots, n, GetCurrentCommandId(true), 0, bistate);
		for (int i = 0; i < n; i++)
			note_written(&slots[i]->tts_tid);
	}
	for (int i = 0; i < nslots; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	pfree(slots);
	if (bistate)
		FreeBulkInsertState(bistate);
}

/* mixpeek.outbox; InvalidOid where it must be looked up. */
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

/* Many entries, or long ones, that may be TOASTed. */
static void
insert_much(Relation outbox, const BufferEntry *entries, int nentries)
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

/* Writes the buffer's entries from first on into the table, and drops them. */
static void
buffer_flush_from(int first)
{
	Relation	outbox;

	if (first >= buffer.nentries)
		return;
	if (!OidIsValid(outbox_relid()))
		return;					/* the extension is gone, and its triggers
								 * with it */
	outbox = table_open(outbox_oid, RowExclusiveLock);
	if (buffer.nentries - first == 1 && buffer.longest < TOAST_TUPLE_TARGET / 2 && !COMPAT_INSERT_WANTS_SNAPSHOT)
		insert_entry(outbox, &buffer.entries[first]);
	else
		insert_much(outbox, buffer.entries + first, buffer.nentries - first);
	table_close(outbox, NoLock);
	buffer.		nentries = first;
}

/*
 * Only the current subtransaction's own entries may be written early: an
 * outer one's would go with this one's rollback.
 */
static void
buffer_flush_level(void)
{
	BufferLevel *level = &buffer.levels[buffer.nlevels - 1];

	buffer_flush_from(level->first_entry);
	buffer.		ntext = level->first_byte;
	buffer.		last_collection = -1;
}

static bool
buffer_is_full(void)
{
	return buffer.nentries >= BUFFER_MAX_ENTRIES || buffer.ntext >= BUFFER_MAX_BYTES;
}

/* An entry that says what the one before it said already. */
static bool
repeats_last(const BufferEntry *entry, const char *key, int key_len)
{
	BufferEntry *last;

	if (buffer.nentries <= buffer.levels[buffer.nlevels - 1].first_entry)
		return false;
	last = &buffer.entries[buffer.nentries - 1];
	return last->relation == entry->relation && last->operation == entry->operation &&
		last->collection == entry->collection && (last->key < 0) == (key == NULL) &&
		(key == NULL || outbox_text_is(buffer_text(last->key), key, key_len));
}

void
outbox_add(Oid relation, char operation, const char *collection, const char *key)
{
	int			collection_len = strlen(collection);
	int			key_len = key ? strlen(key) : 0;
	BufferEntry *entry;

	if (buffer.entries == NULL)
		buffer_create();
	buffer_enter_level();
	if (buffer_is_full())
		buffer_flush_level();
	if (buffer.nentries == buffer.max_entries)
	{
		buffer.		entries = repalloc_huge(buffer.entries,
											sizeof(BufferEntry) * buffer.max_entries * 2);
		buffer.		max_entries *= 2;
	}
	if (buffer.last_collection < 0 ||
		!outbox_text_is(buffer_text(buffer.last_collection), collection, collection_len))
		buffer.		last_collection = buffer_add_text(collection, collection_len);

	entry = &buffer.entries[buffer.nentries];
	entry->relation = relation;
	entry->operation = operation;
	entry->collection = buffer.last_collection;

	if (repeats_last(entry, key, key_len))
		return;
	entry->key = key ? buffer_add_text(key, key_len) : -1;
	buffer.		nentries++;
}

/* What the worker is told of when it can be seen; and it is to look round. */
static BlockSet told;
static bool wake_worker = false;

void
outbox_notify(void)
{
	blockset_add_table(&buffer.written);
	wake_worker = true;
}

void
outbox_note_written(ItemPointer first, ItemPointer last)
{
	blockset_add(&buffer.written, ItemPointerGetBlockNumber(first), ItemPointerGetBlockNumber(last));
}

static void
at_xact_event(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			buffer_flush_from(0);
			break;
		case XACT_EVENT_COMMIT:
			if (buffer.written.n > 0)
				told = buffer.written;

			buffer_forget();
			break;
		case XACT_EVENT_PREPARE:
			shmem_note_prepared(MyDatabaseId, &buffer.written);
			/* FALLTHROUGH */
		default:
			told.n = 0;
			wake_worker = false;
			buffer_forget();
			break;
	}
}

/*
 * The worker is woken when it can see all that the transaction did, and lock its
 * tables: invalidation messages and locks go after the commit callbacks.
 */
static void
at_resource_release(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level)
		return;
	if (is_commit && told.n > 0)
		shmem_tell_worker(MyDatabaseId, &told);
	if (is_commit && wake_worker)
		shmem_wake_worker(MyDatabaseId);
	told.n = 0;
	wake_worker = false;
}

/* What a released subtransaction left in the buffer is its parent's now. */
static void
merge_level(int nest_level)
{
	BufferLevel *level = &buffer.levels[buffer.nlevels - 1];

	if (buffer.nlevels > 1 && level[-1].nest_level == nest_level - 1)
		buffer.		nlevels--;

	else
		level->nest_level = nest_level - 1;
}

static void
at_subxact_event(SubXactEvent event, SubTransactionId mySubid,
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
			if (buffer_is_full())
				buffer_flush_level();
			break;
		case SUBXACT_EVENT_COMMIT_SUB:
			merge_level(nest_level);
			break;
		case SUBXACT_EVENT_ABORT_SUB:
			buffer.		nentries = level->first_entry;
			buffer.		ntext = level->first_byte;
			buffer.		last_collection = -1;
			buffer.		nlevels--;

			break;
		default:
			break;
	}
}

/* Once a backend, from _PG_init(). */
void
outbox_init(void)
{
	RegisterXactCallback(at_xact_event, NULL);
	RegisterResourceReleaseCallback(at_resource_release, NULL);
	RegisterSubXactCallback(at_subxact_event, NULL);
	CacheRegisterRelcacheCallback(invalidate_outbox, (Datum) 0);
}
