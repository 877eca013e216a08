/*-------------------------------------------------------------------------
 *
 * outbox.c
 *		mixpeek.outbox as the worker sees it: entries are read, removed and put in.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "base/statement.h"
#include "base/text.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "state/outbox.h"
#include "state/outbox_buffer.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* The limit of the bytes that are read at once: a key may have any length. */
#define MAX_READ_BYTES	(4 * 1024 * 1024)

static TransactionId
slot_xmin(TupleTableSlot *slot)
{
	bool		isnull;

	return DatumGetTransactionId(slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull));
}

/* Check whether a text column has this value; s may be NULL. */
static bool
column_has_text(TupleTableSlot *slot, int column, const char *s)
{
	bool		isnull;
	Datum		datum = slot_getattr(slot, column, &isnull);

	return isnull || s == NULL ? isnull && s == NULL : text_has_bytes(DatumGetTextPP(datum), s, strlen(s));
}

/* Check whether the tuple is still the entry that was read. */
static bool
is_same_entry(TupleTableSlot *slot, const OutboxEntry *entry)
{
	bool		isnull;

	return slot_xmin(slot) == entry->xmin &&
		DatumGetObjectId(slot_getattr(slot, 1, &isnull)) == entry->relation &&
		DatumGetChar(slot_getattr(slot, 2, &isnull)) == entry->operation &&
		column_has_text(slot, 3, entry->collection) && column_has_text(slot, 4, entry->key);
}

OutboxEntry *
outbox_copy_entry(const OutboxEntry *entry)
{
	OutboxEntry *copy = palloc(sizeof(OutboxEntry));

	*copy = *entry;
	copy->collection = pstrdup(entry->collection);
	copy->key = entry->key ? pstrdup(entry->key) : NULL;
	return copy;
}

static OutboxEntry *
make_entry(TupleTableSlot *slot)
{
	OutboxEntry *entry = palloc0(sizeof(OutboxEntry));

	slot_getallattrs(slot);
	entry->tid = slot->tts_tid;
	entry->xmin = slot_xmin(slot);
	entry->relation = DatumGetObjectId(slot->tts_values[0]);
	entry->operation = DatumGetChar(slot->tts_values[1]);
	entry->collection = TextDatumGetCString(slot->tts_values[2]);
	if (!slot->tts_isnull[3])
		entry->key = TextDatumGetCString(slot->tts_values[3]);
	return entry;
}

/* Check whether an entry is to be skipped.  Keeps no memory: there may be millions of such entries. */
static bool
must_skip(const OutboxRead *read, TupleTableSlot *slot)
{
	text	   *collection;
	bool		result;

	if (read->skip == NULL)
		return false;
	slot_getallattrs(slot);
	collection = DatumGetTextPP(slot->tts_values[2]);
	result = read->skip(read->arg, DatumGetObjectId(slot->tts_values[0]), collection,
						ItemPointerGetBlockNumber(&slot->tts_tid));
	if ((Pointer) collection != DatumGetPointer(slot->tts_values[2]))
		pfree(collection);
	return result;
}

/* Read the set's first range, up to block last. */
static List *
read_blocks(Relation outbox, OutboxRead *read, BlockSet *set, BlockNumber last)
{
	TupleTableSlot *slot = table_slot_create(outbox, NULL);
	ItemPointerData first;
	ItemPointerData end;
	TableScanDesc scan;
	List	   *entries = NIL;

	ItemPointerSet(&first, set->ranges[0].first, set->passed + 1);
	ItemPointerSet(&end, last, PG_UINT16_MAX);
	PushActiveSnapshot(GetLatestSnapshot());
	scan = COMPAT_BEGINSCAN_TIDRANGE(outbox, GetActiveSnapshot(), &first, &end);
	while (read->limit > 0 && read->bytes < MAX_READ_BYTES &&
		   table_scan_getnextslot_tidrange(scan, ForwardScanDirection, slot))
	{
		OutboxEntry *entry;

		if (must_skip(read, slot))
			continue;
		entry = make_entry(slot);
		entries = lappend(entries, entry);
		read->bytes += strlen(entry->collection) + (entry->key ? strlen(entry->key) : 0);
		if (--read->limit == 0 || read->bytes >= MAX_READ_BYTES)
			blockset_pass(set, &entry->tid);
	}
	table_endscan(scan);
	PopActiveSnapshot();
	ExecDropSingleTupleTableSlot(slot);
	return entries;
}

List *
outbox_read(OutboxRead *read, BlockSet *set)
{
	Relation	outbox = table_open(outbox_relid(), RowExclusiveLock);
	BlockNumber nblocks = RelationGetNumberOfBlocks(outbox);
	List	   *entries = NIL;

	read->moved = read->filenode != outbox->rd_rel->relfilenode;
	read->filenode = outbox->rd_rel->relfilenode;
	while (set->n > 0 && read->limit > 0 && read->bytes < MAX_READ_BYTES && read->blocks > 0)
	{
		BlockNumber first = set->ranges[0].first;
		BlockNumber last = set->ranges[0].last;
		BlockNumber end = Min(nblocks, (BlockNumber) Min((uint64) last + 1, (uint64) first + read->blocks));

		if (first < end)
		{
			entries = list_concat(entries, read_blocks(outbox, read, set, end - 1));
			read->blocks -= end - first;
		}
		if (read->limit > 0 && read->bytes < MAX_READ_BYTES)
			blockset_pass_blocks(set, end < nblocks ? end : last + 1);
	}
	table_close(outbox, NoLock);	/* keep the lock: tids stay valid until
									 * the entries are removed */
	return entries;
}

void
outbox_remove(const List *entries)
{
	Relation	outbox;
	TupleTableSlot *slot;
	ListCell   *lc;

	if (entries == NIL)
		return;
	outbox = table_open(outbox_relid(), RowExclusiveLock);
	slot = table_slot_create(outbox, NULL);
	PushActiveSnapshot(GetLatestSnapshot());
	foreach(lc, entries)
	{
		OutboxEntry *entry = lfirst(lc);
		TM_FailureData failure;

		/* another session may be deleting it */
		if (table_tuple_fetch_row_version(outbox, &entry->tid, GetActiveSnapshot(), slot) &&
			is_same_entry(slot, entry))
			(void) COMPAT_TUPLE_DELETE(outbox, &entry->tid, GetActiveSnapshot(), &failure);
	}
	PopActiveSnapshot();
	ExecDropSingleTupleTableSlot(slot);
	table_close(outbox, NoLock);
	CommandCounterIncrement();
}

void
outbox_remove_expansions(const OutboxEntry *entry)
{
	static Statement query = {
		"DELETE FROM mixpeek.outbox WHERE relation = $1 AND operation = $2 AND collection = $3"
		" AND key IS NULL",
		3, {OIDOID, CHAROID, TEXTOID}
	};
	Datum		args[3];

	args[0] = ObjectIdGetDatum(entry->relation);
	args[1] = CharGetDatum(entry->operation);
	args[2] = CStringGetTextDatum(entry->collection);
	(void) statement_execute(&query, args, NULL);
}

void
outbox_remove_continued(Oid relation, const char *collection)
{
	static Statement query = {
		"DELETE FROM mixpeek.outbox WHERE relation = $1 AND collection = $2 AND operation IN ('B', 'T')"
		" AND key IS NOT NULL",
		2, {OIDOID, TEXTOID}
	};
	Datum		args[2];

	args[0] = ObjectIdGetDatum(relation);
	args[1] = CStringGetTextDatum(collection);
	(void) statement_execute(&query, args, NULL);
}

void
outbox_forget(Oid relation, const char *collection)
{
	static Statement query = {
		"DELETE FROM mixpeek.outbox WHERE relation = $1 AND ($2 IS NULL OR collection = $2)",
		2, {OIDOID, TEXTOID}
	};
	Datum		args[2];

	args[0] = ObjectIdGetDatum(relation);
	args[1] = collection ? CStringGetTextDatum(collection) : (Datum) 0;
	(void) statement_execute(&query, args, collection ? "  " : " n");
}

void
outbox_put(Oid relation, char operation, const char *collection,
		   char *const *keys, int nkeys, BlockSet *blocks)
{
	static Statement query = {
		"INSERT INTO mixpeek.outbox (relation, operation, collection, key)"
		" SELECT $1, $2, $3, unnest($4) RETURNING ctid",
		4, {OIDOID, CHAROID, TEXTOID, TEXTARRAYOID}
	};
	Datum		args[4];

	args[0] = ObjectIdGetDatum(relation);
	args[1] = CharGetDatum(operation);
	args[2] = CStringGetTextDatum(collection);
	args[3] = statement_text_array(keys, nkeys);
	statement_run(&query, args, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		ItemPointer tid = (ItemPointer) DatumGetPointer(statement_value(i, 1, NULL));
		BlockNumber block = ItemPointerGetBlockNumber(tid);

		blockset_add(blocks, block, block);
	}
	statement_end();
}

/*
 * Check whether an entry was written by a transaction that began before xmax, or may have been
 * written by the worker in place of such an entry.
 */
static bool
is_before(TupleTableSlot *slot, TransactionId xmax)
{
	bool		isnull;
	TransactionId xmin = slot_xmin(slot);
	char		operation = DatumGetChar(slot_getattr(slot, 2, &isnull));

	return !TransactionIdIsNormal(xmin) || TransactionIdPrecedes(xmin, xmax) ||
		operation == OUTBOX_ALL_ROWS || operation == OUTBOX_ALL_STORED ||
		operation == OUTBOX_RECHECK || operation == OUTBOX_REFRESH;
}

OutboxSearch
outbox_find_before(ItemPointer position, TransactionId xmax, BlockNumber max_blocks)
{
	Relation	outbox = table_open(outbox_relid(), AccessShareLock);
	TupleTableSlot *slot = table_slot_create(outbox, NULL);
	BlockNumber end = ItemPointerGetBlockNumberNoCheck(position) + max_blocks;
	OutboxSearch result = end < RelationGetNumberOfBlocks(outbox) ? OUTBOX_MORE : OUTBOX_NONE;
	ItemPointerData last;
	TableScanDesc scan;

	ItemPointerSet(&last, end, 0);
	PushActiveSnapshot(GetLatestSnapshot());
	scan = COMPAT_BEGINSCAN_TIDRANGE(outbox, GetActiveSnapshot(), position, &last);
	while (result != OUTBOX_FOUND && table_scan_getnextslot_tidrange(scan, ForwardScanDirection, slot))
	{
		if (is_before(slot, xmax))
		{
			result = OUTBOX_FOUND;
			last = slot->tts_tid;
		}
	}
	*position = last;
	table_endscan(scan);
	PopActiveSnapshot();
	ExecDropSingleTupleTableSlot(slot);
	table_close(outbox, AccessShareLock);
	return result;
}
