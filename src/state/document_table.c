/*-------------------------------------------------------------------------
 *
 * document_table.c
 *		Records of mixpeek.documents, changed one by one without SQL statements.
 *
 * A statement for a batch costs some three times as much as the table and its
 * indexes: it needs a join to find the records, tuples for the values, and expressions
 * for the columns.  Here a record is found by its last known place, and the
 * columns are set directly.  As with a statement, a record that another transaction is
 * changing is waited for, and changed in its new version.
 *
 * The table's constraints are not checked, because all values are made here.  Triggers
 * that users have created on the table are not fired, because this is the worker.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/extension.h"
#include "base/text.h"
#include "catalog/index.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "mirror/key.h"
#include "state/document_table.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define KEY_COLUMNS 3			/* relation, collection, key */

struct DocumentTable
{
	MemoryContext context;
	MemoryContext memory;		/* see document_table_memory() */
	Relation	rel;
	BlockNumber nblocks;		/* when the table was opened */
	ResultRelInfo *indexes;		/* NULL: not opened yet */
	EState	   *estate;			/* for the indexes' expressions and predicates */
	Relation	key_index;
	IndexScanDesc key_scan;		/* NULL: not begun yet */
	TupleTableSlot *found;		/* by document_table_find() */
	TupleTableSlot *changed;	/* its new version */
	TupleTableSlot **added;		/* by document_table_add() */
	int			nadded;
	int			max_added;
};

#ifdef USE_ASSERT_CHECKING
#define DOCUMENT_COLUMN_CHECK(number, name, type) {name, type},
static const struct
{
	const char *name;
	Oid			type;
}			columns[] = {DOCUMENT_COLUMNS(DOCUMENT_COLUMN_CHECK)};

/* Compare DOCUMENT_COLUMNS with the table. */
static void
check_columns(Relation rel)
{
	for (int i = 0; i < DOCUMENT_NCOLUMNS; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

		if (strcmp(NameStr(att->attname), columns[i].name) != 0 || att->atttypid != columns[i].type)
			elog(ERROR, "column %d of mixpeek.documents is \"%s\" of type %u, not \"%s\" of type %u",
				 i + 1, NameStr(att->attname), att->atttypid, columns[i].name, columns[i].type);
	}
}
#else
#define check_columns(rel) ((void) 0)
#endif

static Relation
open_table(void)
{
	Oid			oid = extension_object(EXTENSION_DOCUMENTS);
	Relation	rel;

	if (!OidIsValid(oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"%s\" has no table \"documents\"", EXTENSION_NAME)));
	rel = table_open(oid, RowExclusiveLock);
	if (RelationGetNumberOfAttributes(rel) < DOCUMENT_NCOLUMNS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("mixpeek.documents has %d columns, fewer than %d",
						RelationGetNumberOfAttributes(rel), DOCUMENT_NCOLUMNS),
				 errhint("Run ALTER EXTENSION mixpeek_docs UPDATE.")));
	check_columns(rel);
	return rel;
}

void
document_table_exclude_worker(void)
{
	LockRelationOid(extension_object(EXTENSION_DOCUMENTS), ShareRowExclusiveLock);
}

/* If there is no table, document_table_open() says so. */
bool
document_table_try_lock(void)
{
	Oid			oid = extension_object(EXTENSION_DOCUMENTS);

	return !OidIsValid(oid) || ConditionalLockRelationOid(oid, RowExclusiveLock);
}

DocumentTable *
document_table_open(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "mixpeek documents",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	DocumentTable *table = palloc0(sizeof(DocumentTable));

	table->context = context;
	table->rel = open_table();
	table->nblocks = RelationGetNumberOfBlocks(table->rel);
	table->estate = CreateExecutorState();
	table->memory = GetPerTupleMemoryContext(table->estate);
	table->found = table_slot_create(table->rel, NULL);
	table->changed = table_slot_create(table->rel, NULL);
	PushActiveSnapshot(GetLatestSnapshot());
	MemoryContextSwitchTo(old);
	return table;
}

static void
end_key_scan(DocumentTable *table)
{
	if (table->key_scan)
		index_endscan(table->key_scan);
	table->key_scan = NULL;
}

/* Take a new snapshot, which includes what other transactions have committed since. */
static void
renew_snapshot(DocumentTable *table)
{
	ExecClearTuple(table->found);
	end_key_scan(table);
	PopActiveSnapshot();
	PushActiveSnapshot(GetLatestSnapshot());
}

void
document_table_close(DocumentTable *table)
{
	end_key_scan(table);
	if (table->key_index)
		index_close(table->key_index, NoLock);
	ExecDropSingleTupleTableSlot(table->found);
	ExecDropSingleTupleTableSlot(table->changed);
	for (int i = 0; i < table->max_added; i++)
		ExecDropSingleTupleTableSlot(table->added[i]);
	if (table->indexes)
		ExecCloseIndices(table->indexes);
	FreeExecutorState(table->estate);
	PopActiveSnapshot();
	table_close(table->rel, NoLock);
	MemoryContextDelete(table->context);
	CommandCounterIncrement();
}

MemoryContext
document_table_memory(DocumentTable *table)
{
	return table->memory;
}

/*
 * Columns
 */

void
record_set(TupleTableSlot *record, DocumentColumn column, Datum value)
{
	record->tts_values[column] = value;
	record->tts_isnull[column] = false;
}

void
record_set_null(TupleTableSlot *record, DocumentColumn column)
{
	record->tts_isnull[column] = true;
}

void
record_set_text(TupleTableSlot *record, DocumentColumn column, const char *text)
{
	if (text)
		record_set(record, column, CStringGetTextDatum(text));
	else
		record_set_null(record, column);
}

/*
 * Indexes
 */

/* Check whether one of the index's columns differs between two versions.  Expressions count as different. */
static bool
index_columns_differ(const IndexInfo *info, TupleTableSlot *old, TupleTableSlot *new)
{
	for (int i = 0; i < info->ii_NumIndexKeyAttrs; i++)
	{
		AttrNumber	attnum = info->ii_IndexAttrNumbers[i];

		if (attnum == 0 || !key_same_column(old, new, attnum))
			return true;
	}
	return false;
}

static void
open_indexes(DocumentTable *table)
{
	MemoryContext old;

	if (table->indexes)
		return;
	old = MemoryContextSwitchTo(table->context);
	table->indexes = makeNode(ResultRelInfo);
	InitResultRelInfo(table->indexes, table->rel, 0, NULL, 0);
	ExecOpenIndices(table->indexes, false);
	MemoryContextSwitchTo(old);
}

static bool
predicate_holds(DocumentTable *table, IndexInfo *info, ExprContext *econtext)
{
	if (info->ii_Predicate == NIL)
		return true;
	if (info->ii_PredicateState == NULL)
		info->ii_PredicateState = ExecPrepareQual(info->ii_Predicate, table->estate);
	return ExecQual(info->ii_PredicateState, econtext);
}

/*
 * Choose the uniqueness check.  If no column of the index has changed, the old version already satisfied the
 * constraint and no check is needed, except for a partial index, which the old version may not have been in.
 */
static IndexUniqueCheck
choose_unique_check(Relation index, const IndexInfo *info, TupleTableSlot *old, bool unchanged)
{
	if (!index->rd_index->indisunique || (unchanged && info->ii_Predicate == NIL))
		return UNIQUE_CHECK_NO;
	return old ? UNIQUE_CHECK_YES : UNIQUE_CHECK_PARTIAL;
}

/*
 * Insert index entries for a record that is in the table.  old is its previous version, or NULL if
 * the record is new.  An index whose columns did not change gets a hint, so that it can remove entries of
 * dead versions.  For a new record, returns false if there may be another one with the same key.
 */
static bool
insert_index_entries(DocumentTable *table, TupleTableSlot *record, TupleTableSlot *old,
					 CompatUpdateIndexes which)
{
	ExprContext *econtext = GetPerTupleExprContext(table->estate);
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];

	open_indexes(table);
	econtext->ecxt_scantuple = record;
	for (int i = 0; i < table->indexes->ri_NumIndices; i++)
	{
		Relation	index = table->indexes->ri_IndexRelationDescs[i];
		IndexInfo  *info = table->indexes->ri_IndexRelationInfo[i];
		IndexUniqueCheck check;
		bool		unchanged;

		if (!info->ii_ReadyForInserts || COMPAT_PASSES_INDEX(which, info) ||
			!predicate_holds(table, info, econtext))
			continue;
		unchanged = old != NULL && !index_columns_differ(info, old, record);
		check = choose_unique_check(index, info, old, unchanged);
		FormIndexDatum(info, record, table->estate, values, nulls);
		if (!index_insert(index, values, nulls, &record->tts_tid, table->rel, check, unchanged, info) &&
			check == UNIQUE_CHECK_PARTIAL)
			return false;
	}
	return true;
}

/*
 * The primary key's index
 */

/* Find a record by its key.  The scan is kept for the next call, and so is its memory. */
static bool
find_in_index(DocumentTable *table, Oid relation, Datum collection, Datum key)
{
	ScanKeyData keys[KEY_COLUMNS];
	MemoryContext old;
	bool		found;

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relation));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_TEXTEQ, collection);
	ScanKeyInit(&keys[2], 3, BTEqualStrategyNumber, F_TEXTEQ, key);
	old = MemoryContextSwitchTo(table->context);
	if (table->key_index == NULL)
	{
		(void) RelationGetIndexList(table->rel);	/* sets rd_pkindex */
		table->key_index = index_open(table->rel->rd_pkindex, AccessShareLock);
	}
	if (table->key_scan == NULL)
		table->key_scan = COMPAT_INDEX_BEGINSCAN(table->rel, table->key_index, GetActiveSnapshot(), KEY_COLUMNS);
	index_rescan(table->key_scan, keys, KEY_COLUMNS, NULL, 0);
	found = index_getnext_slot(table->key_scan, ForwardScanDirection, table->found);
	MemoryContextSwitchTo(old);
	if (found)
		slot_getallattrs(table->found);
	return found;
}

/*
 * New records
 */

TupleTableSlot *
document_table_add(DocumentTable *table)
{
	TupleTableSlot *record;

	if (table->nadded == table->max_added)
	{
		MemoryContext old = MemoryContextSwitchTo(table->context);
		int			size = Max(64, table->max_added * 2);

		table->added = table->added ? repalloc(table->added, sizeof(TupleTableSlot *) * size) :
			palloc(sizeof(TupleTableSlot *) * size);
		while (table->max_added < size)
			table->added[table->max_added++] = table_slot_create(table->rel, NULL);
		MemoryContextSwitchTo(old);
	}
	record = table->added[table->nadded++];
	memset(record->tts_isnull, true, sizeof(bool) * record->tts_tupleDescriptor->natts);
	ExecStoreVirtualTuple(record);
	return record;
}

void
document_table_insert(DocumentTable *table)
{
	MemoryContext old = MemoryContextSwitchTo(table->memory);
	List	   *known = NIL;
	ListCell   *lc;

	table_multi_insert(table->rel, table->added, table->nadded, GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < table->nadded; i++)
	{
		if (!insert_index_entries(table, table->added[i], NULL, COMPAT_ALL_INDEXES))
			known = lappend(known, table->added[i]);
	}
	if (known)
		CommandCounterIncrement();	/* so that they can be deleted */
	foreach(lc, known)
	{
		TupleTableSlot *record = lfirst(lc);

		simple_table_tuple_delete(table->rel, &record->tts_tid, GetActiveSnapshot());
		ItemPointerSetInvalid(&record->tts_tid);
	}
	MemoryContextSwitchTo(old);
}

/*
 * Existing records
 */

static bool
has_text(TupleTableSlot *record, DocumentColumn column, const char *string)
{
	return text_has_bytes(DatumGetTextPP(record->tts_values[column]), string, strlen(string));
}

static bool
has_key(TupleTableSlot *record, Oid relation, const char *collection, const char *key)
{
	slot_getallattrs(record);
	return DatumGetObjectId(record->tts_values[DOCUMENT_RELATION]) == relation &&
		has_text(record, DOCUMENT_KEY, key) &&
		has_text(record, DOCUMENT_COLLECTION, collection);
}

TupleTableSlot *
document_table_find(DocumentTable *table, ItemPointer tid, Oid relation, const char *collection, const char *key)
{
	MemoryContext old;
	bool		found;

	MemoryContextReset(table->memory);
	old = MemoryContextSwitchTo(table->memory);
	found = ItemPointerIsValid(tid) && ItemPointerGetBlockNumber(tid) < table->nblocks &&
		table_tuple_fetch_row_version(table->rel, tid, GetActiveSnapshot(), table->found) &&
		has_key(table->found, relation, collection, key);
	if (!found)
		found = find_in_index(table, relation, CStringGetTextDatum(collection), CStringGetTextDatum(key));
	MemoryContextSwitchTo(old);
	return found ? table->found : NULL;
}

TupleTableSlot *
document_table_change(DocumentTable *table)
{
	TupleTableSlot *record = ExecClearTuple(table->changed);
	int			natts = record->tts_tupleDescriptor->natts;

	memcpy(record->tts_values, table->found->tts_values, sizeof(Datum) * natts);
	memcpy(record->tts_isnull, table->found->tts_isnull, sizeof(bool) * natts);
	return ExecStoreVirtualTuple(record);
}

bool
document_table_update(DocumentTable *table)
{
	MemoryContext old = MemoryContextSwitchTo(table->memory);
	ItemPointerData tid = table->found->tts_tid;
	CompatUpdateIndexes update_indexes;
	LockTupleMode lock_mode;
	TM_FailureData failure;
	bool		done;

	done = COMPAT_TUPLE_UPDATE(table->rel, &tid, table->changed, GetActiveSnapshot(),
							   &failure, &lock_mode, &update_indexes) == TM_Ok;
	if (done && update_indexes != COMPAT_NO_INDEXES)
		insert_index_entries(table, table->changed, table->found, update_indexes);
	if (!done)
		renew_snapshot(table);
	MemoryContextSwitchTo(old);
	return done;
}

bool
document_table_has_mirror(Oid relation, const char *collection, const char *server)
{
	Relation	rel = open_table();
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		has;
	bool		isnull;

	ScanKeyInit(&keys[0], DOCUMENT_RELATION + 1, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relation));
	ScanKeyInit(&keys[1], DOCUMENT_COLLECTION + 1, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(collection));
	(void) RelationGetIndexList(rel);	/* sets rd_pkindex */
	scan = systable_beginscan(rel, rel->rd_pkindex, true, snapshot, lengthof(keys), keys);
	tuple = systable_getnext(scan);
	has = HeapTupleIsValid(tuple) &&
		(server == NULL || strcmp(server, TextDatumGetCString(heap_getattr(tuple, DOCUMENT_SERVER + 1, RelationGetDescr(rel), &isnull))) != 0);
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	return has;
}
