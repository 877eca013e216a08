/*-------------------------------------------------------------------------
 *
 * document_table.c
 *		Records of mixpeek.documents, one at a time, without a statement.
 *
 * A statement over a batch costs some three times what the table and its
 * indexes do: a join to find the records, records to carry the values, a plan's
 * nodes a column.  Here a record is found by where it was put, and its
 * columns are changed in place.  What a statement gives besides is kept: a record
 * that somebody else changes meanwhile is waited for and changed as it is then.
 *
 * The table's constraints are not checked: the values come from here.  Triggers
 * that somebody has put on it are not run: here is the worker.
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
	BlockNumber nblocks;		/* at the beginning */
	ResultRelInfo *indexes;		/* NULL: not needed yet */
	EState	   *estate;			/* of their expressions and predicates */
	Relation	key_index;
	IndexScanDesc key_scan;		/* NULL: not needed yet */
	TupleTableSlot *found;
	TupleTableSlot *changed;
	TupleTableSlot **added;
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

DocumentTable *
document_table_open(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "mixpeek lines",
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

/* What others have committed since is looked for from here on. */
static void
look_again(DocumentTable *table)
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

/* Has one of the index's columns another value in the new version?  Of expressions we do not know. */
static bool
is_changed(const IndexInfo *info, TupleTableSlot *old, TupleTableSlot *new)
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

/* What has not changed is as unique as it was, if it was in the index before. */
static IndexUniqueCheck
unique_check(Relation index, const IndexInfo *info, TupleTableSlot *old, bool unchanged)
{
	if (!index->rd_index->indisunique || (unchanged && info->ii_Predicate == NIL))
		return UNIQUE_CHECK_NO;
	return old ? UNIQUE_CHECK_YES : UNIQUE_CHECK_PARTIAL;
}

/*
 * Enters a record that is in the table now.  old: the version before, NULL for a new
 * record.  An index whose columns are the same is told so: it clears away dead versions.
 * False, for a new record only, if there may be another one with the same key.
 */
static bool
enter_in_indexes(DocumentTable *table, TupleTableSlot *record, TupleTableSlot *old,
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
		unchanged = old != NULL && !is_changed(info, old, record);
		check = unique_check(index, info, old, unchanged);
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

/* What the scan allocates lives as long as the scan. */
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
		(void) RelationGetIndexList(table->rel);	/* fills it in */
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
		if (!enter_in_indexes(table, table->added[i], NULL, COMPAT_ALL_INDEXES))
			known = lappend(known, table->added[i]);
	}
	if (known)
		CommandCounterIncrement();	/* what was put in can be taken out from
									 * here on */
	foreach(lc, known)
	{
		TupleTableSlot *record = lfirst(lc);

		simple_table_tuple_delete(table->rel, &record->tts_tid, GetActiveSnapshot());
		ItemPointerSetInvalid(&record->tts_tid);
	}
	MemoryContextSwitchTo(old);
}

/*
 * Records that are there
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
		enter_in_indexes(table, table->changed, table->found, update_indexes);
	if (!done)
		look_again(table);
	MemoryContextSwitchTo(old);
	return done;
}
