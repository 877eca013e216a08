/*-------------------------------------------------------------------------
 *
 * line.c
 *		Lines of mixpeek.documents, one at a time, without a statement.
 *
 * A statement over a batch costs some three times what the table and its
 * indexes do: a join to find the lines, records to carry the values, a plan's
 * nodes a column.  Here a line is found by where it was put, and its
 * columns are changed in place.  What a statement gives besides is kept: a line
 * that somebody else changes meanwhile is waited for and changed as it is then.
 *
 * The table's constraints are not checked: the values come from here.  Triggers
 * that somebody has put on it are not run: here is the worker.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "extension.h"
#include "key.h"
#include "line.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define KEY_COLUMNS 3			/* relation, collection, key */

struct Lines
{
	MemoryContext context;
	MemoryContext memory;		/* see lines_memory() */
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
	if (RelationGetNumberOfAttributes(rel) < LINE_COLUMNS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("mixpeek.documents has %d columns, fewer than %d",
						RelationGetNumberOfAttributes(rel), LINE_COLUMNS),
				 errhint("ALTER EXTENSION mixpeek_docs UPDATE.")));
	return rel;
}

Lines *
lines_open(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "mixpeek lines",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Lines	   *lines = palloc0(sizeof(Lines));

	lines->context = context;
	lines->rel = open_table();
	lines->nblocks = RelationGetNumberOfBlocks(lines->rel);
	lines->estate = CreateExecutorState();
	lines->memory = GetPerTupleMemoryContext(lines->estate);
	lines->found = table_slot_create(lines->rel, NULL);
	lines->changed = table_slot_create(lines->rel, NULL);
	PushActiveSnapshot(GetLatestSnapshot());
	MemoryContextSwitchTo(old);
	return lines;
}

static void
end_key_scan(Lines *lines)
{
	if (lines->key_scan)
		index_endscan(lines->key_scan);
	lines->key_scan = NULL;
}

/* What others have committed since is looked for from here on. */
static void
look_again(Lines *lines)
{
	ExecClearTuple(lines->found);
	end_key_scan(lines);
	PopActiveSnapshot();
	PushActiveSnapshot(GetLatestSnapshot());
}

void
lines_close(Lines *lines)
{
	end_key_scan(lines);
	if (lines->key_index)
		index_close(lines->key_index, NoLock);
	ExecDropSingleTupleTableSlot(lines->found);
	ExecDropSingleTupleTableSlot(lines->changed);
	for (int i = 0; i < lines->max_added; i++)
		ExecDropSingleTupleTableSlot(lines->added[i]);
	if (lines->indexes)
		ExecCloseIndices(lines->indexes);
	FreeExecutorState(lines->estate);
	PopActiveSnapshot();
	table_close(lines->rel, NoLock);
	MemoryContextDelete(lines->context);
	CommandCounterIncrement();
}

MemoryContext
lines_memory(Lines *lines)
{
	return lines->memory;
}

/*
 * Columns
 */

void
line_set(TupleTableSlot *line, int column, Datum value)
{
	line->tts_values[column] = value;
	line->tts_isnull[column] = false;
}

void
line_set_null(TupleTableSlot *line, int column)
{
	line->tts_isnull[column] = true;
}

void
line_set_text(TupleTableSlot *line, int column, const char *text)
{
	if (text)
		line_set(line, column, CStringGetTextDatum(text));
	else
		line_set_null(line, column);
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
open_indexes(Lines *lines)
{
	MemoryContext old;

	if (lines->indexes)
		return;
	old = MemoryContextSwitchTo(lines->context);
	lines->indexes = makeNode(ResultRelInfo);
	InitResultRelInfo(lines->indexes, lines->rel, 0, NULL, 0);
	ExecOpenIndices(lines->indexes, false);
	MemoryContextSwitchTo(old);
}

static bool
predicate_holds(Lines *lines, IndexInfo *info, ExprContext *econtext)
{
	if (info->ii_Predicate == NIL)
		return true;
	if (info->ii_PredicateState == NULL)
		info->ii_PredicateState = ExecPrepareQual(info->ii_Predicate, lines->estate);
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
 * Enters a line that is in the table now.  old: the version before, NULL for a new
 * line.  An index whose columns are the same is told so: it clears away dead versions.
 * False, for a new line only, if there may be another one with the same key.
 */
static bool
enter_in_indexes(Lines *lines, TupleTableSlot *line, TupleTableSlot *old,
				 CompatUpdateIndexes which)
{
	ExprContext *econtext = GetPerTupleExprContext(lines->estate);
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];

	open_indexes(lines);
	econtext->ecxt_scantuple = line;
	for (int i = 0; i < lines->indexes->ri_NumIndices; i++)
	{
		Relation	index = lines->indexes->ri_IndexRelationDescs[i];
		IndexInfo  *info = lines->indexes->ri_IndexRelationInfo[i];
		IndexUniqueCheck check;
		bool		unchanged;

		if (!info->ii_ReadyForInserts || COMPAT_PASSES_INDEX(which, info) ||
			!predicate_holds(lines, info, econtext))
			continue;
		unchanged = old != NULL && !is_changed(info, old, line);
		check = unique_check(index, info, old, unchanged);
		FormIndexDatum(info, line, lines->estate, values, nulls);
		if (!index_insert(index, values, nulls, &line->tts_tid, lines->rel, check, unchanged, info) &&
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
find_in_index(Lines *lines, Oid relation, Datum collection, Datum key)
{
	ScanKeyData keys[KEY_COLUMNS];
	MemoryContext old;
	bool		found;

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relation));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_TEXTEQ, collection);
	ScanKeyInit(&keys[2], 3, BTEqualStrategyNumber, F_TEXTEQ, key);
	old = MemoryContextSwitchTo(lines->context);
	if (lines->key_index == NULL)
	{
		(void) RelationGetIndexList(lines->rel);	/* fills it in */
		lines->key_index = index_open(lines->rel->rd_pkindex, AccessShareLock);
	}
	if (lines->key_scan == NULL)
		lines->key_scan = COMPAT_INDEX_BEGINSCAN(lines->rel, lines->key_index, GetActiveSnapshot(), KEY_COLUMNS);
	index_rescan(lines->key_scan, keys, KEY_COLUMNS, NULL, 0);
	found = index_getnext_slot(lines->key_scan, ForwardScanDirection, lines->found);
	MemoryContextSwitchTo(old);
	if (found)
		slot_getallattrs(lines->found);
	return found;
}

/*
 * New lines
 */

TupleTableSlot *
lines_add(Lines *lines)
{
	TupleTableSlot *line;

	if (lines->nadded == lines->max_added)
	{
		MemoryContext old = MemoryContextSwitchTo(lines->context);
		int			size = Max(64, lines->max_added * 2);

		lines->added = lines->added ? repalloc(lines->added, sizeof(TupleTableSlot *) * size) :
			palloc(sizeof(TupleTableSlot *) * size);
		while (lines->max_added < size)
			lines->added[lines->max_added++] = table_slot_create(lines->rel, NULL);
		MemoryContextSwitchTo(old);
	}
	line = lines->added[lines->nadded++];
	memset(line->tts_isnull, true, sizeof(bool) * line->tts_tupleDescriptor->natts);
	ExecStoreVirtualTuple(line);
	return line;
}

void
lines_insert(Lines *lines)
{
	MemoryContext old = MemoryContextSwitchTo(lines->memory);
	List	   *known = NIL;
	ListCell   *lc;

	table_multi_insert(lines->rel, lines->added, lines->nadded, GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < lines->nadded; i++)
	{
		if (!enter_in_indexes(lines, lines->added[i], NULL, COMPAT_ALL_INDEXES))
			known = lappend(known, lines->added[i]);
	}
	if (known)
		CommandCounterIncrement();	/* what was put in can be taken out from here on */
	foreach(lc, known)
	{
		TupleTableSlot *line = lfirst(lc);

		simple_table_tuple_delete(lines->rel, &line->tts_tid, GetActiveSnapshot());
		ItemPointerSetInvalid(&line->tts_tid);
	}
	MemoryContextSwitchTo(old);
}

/*
 * Lines that are there
 */

static bool
is_text(Datum datum, const char *string)
{
	text	   *value = DatumGetTextPP(datum);
	size_t		len = strlen(string);

	return VARSIZE_ANY_EXHDR(value) == len && memcmp(VARDATA_ANY(value), string, len) == 0;
}

static bool
has_key(TupleTableSlot *line, Oid relation, const char *collection, const char *key)
{
	slot_getallattrs(line);
	return DatumGetObjectId(line->tts_values[LINE_RELATION]) == relation &&
		is_text(line->tts_values[LINE_KEY], key) &&
		is_text(line->tts_values[LINE_COLLECTION], collection);
}

TupleTableSlot *
lines_find(Lines *lines, ItemPointer tid, Oid relation, const char *collection, const char *key)
{
	MemoryContext old;
	bool		found;

	MemoryContextReset(lines->memory);
	old = MemoryContextSwitchTo(lines->memory);
	found = ItemPointerIsValid(tid) && ItemPointerGetBlockNumber(tid) < lines->nblocks &&
		table_tuple_fetch_row_version(lines->rel, tid, GetActiveSnapshot(), lines->found) &&
		has_key(lines->found, relation, collection, key);
	if (!found)
		found = find_in_index(lines, relation, CStringGetTextDatum(collection), CStringGetTextDatum(key));
	MemoryContextSwitchTo(old);
	return found ? lines->found : NULL;
}

TupleTableSlot *
lines_change(Lines *lines)
{
	TupleTableSlot *line = ExecClearTuple(lines->changed);
	int			natts = line->tts_tupleDescriptor->natts;

	memcpy(line->tts_values, lines->found->tts_values, sizeof(Datum) * natts);
	memcpy(line->tts_isnull, lines->found->tts_isnull, sizeof(bool) * natts);
	return ExecStoreVirtualTuple(line);
}

bool
lines_update(Lines *lines)
{
	MemoryContext old = MemoryContextSwitchTo(lines->memory);
	ItemPointerData tid = lines->found->tts_tid;
	CompatUpdateIndexes update_indexes;
	LockTupleMode lock_mode;
	TM_FailureData failure;
	bool		done;

	done = COMPAT_TUPLE_UPDATE(lines->rel, &tid, lines->changed, GetActiveSnapshot(),
							   &failure, &lock_mode, &update_indexes) == TM_Ok;
	if (done && update_indexes != COMPAT_NO_INDEXES)
		enter_in_indexes(lines, lines->changed, lines->found, update_indexes);
	if (!done)
		look_again(lines);
	MemoryContextSwitchTo(old);
	return done;
}
