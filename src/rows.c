/*-------------------------------------------------------------------------
 *
 * rows.c
 *		Rows of mirrored tables, read by PostgreSQL's own code and no other.
 *
 * The worker has a superuser's rights and everybody's keys, so nothing that a
 * table's owner can write a function for may run in it.  Here is neither a statement nor a
 * name: a relation is opened by its oid under a lock that the caller holds, its
 * key's index is searched, and what is found goes through functions that came with
 * initdb.  What needs more is not native, and is read elsewhere with the owner's rights.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "guard.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "rows.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/*
 * What is native
 */

/* Nobody can make an object with such an oid. */
static bool
is_pinned(Oid object)
{
	return OidIsValid(object) && object < COMPAT_FIRST_UNPINNED_OID;
}

/*
 * A base or range type that came with initdb, or an array of such: their output
 * and to_json() know no other functions than PostgreSQL's own.
 */
static bool
is_native_type(Oid type)
{
	Oid			base = getBaseType(type);
	Oid			element = get_element_type(base);
	char		typtype;

	check_stack_depth();
	if (OidIsValid(element))
		return is_native_type(element);
	typtype = get_typtype(base);
	return is_pinned(base) &&
		(typtype == TYPTYPE_BASE || typtype == TYPTYPE_RANGE || typtype == TYPTYPE_MULTIRANGE);
}

/* to_json() would call it; that of an enum may be made at any time, see json_of(). */
static bool
has_cast_to_json(Oid type)
{
	return SearchSysCacheExists2(CASTSOURCETARGET, ObjectIdGetDatum(type), ObjectIdGetDatum(JSONOID));
}

/* The enum that a type, or its elements, are; InvalidOid: neither. */
static Oid
enum_of(Oid type)
{
	Oid			base = getBaseType(type);
	Oid			element = get_element_type(base);

	if (OidIsValid(element))
		base = getBaseType(element);
	return get_typtype(base) == TYPTYPE_ENUM ? base : InvalidOid;
}

static bool
is_native_column(Form_pg_attribute att, ColumnForm form)
{
	Oid			enumeration = enum_of(att->atttypid);

	if (COMPAT_IS_VIRTUAL_COLUMN(att))
		return false;
	if (OidIsValid(enumeration))
		return form != COLUMN_JSON || !has_cast_to_json(enumeration);
	return is_native_type(att->atttypid);
}

/*
 * The same of a key's column, whose values are also read from text.  A domain's checks are
 * left out there, but not those of an array's elements.
 */
static bool
is_native_key_column(Form_pg_attribute att)
{
	Oid			element = get_element_type(getBaseType(att->atttypid));

	return is_native_column(att, COLUMN_NATIVE) &&
		!(OidIsValid(element) && get_typtype(element) == TYPTYPE_DOMAIN);
}

/* The column of rel that was compiled; NULL if it is another one now. */
static Form_pg_attribute
compiled_attribute(Relation rel, AttrNumber attnum, Oid type)
{
	Form_pg_attribute att;

	if (attnum <= 0 || attnum > RelationGetNumberOfAttributes(rel))
		return NULL;
	att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	return att->attisdropped || getBaseType(att->atttypid) != type ? NULL : att;
}

/* Is it the index that was compiled? */
static bool
is_compiled_index(Relation rel, Relation index, const Key *key)
{
	if (index->rd_index->indrelid != RelationGetRelid(rel) || index->rd_rel->relam != BTREE_AM_OID ||
		!index->rd_index->indisunique || index->rd_index->indnkeyatts != key->ncolumns)
		return false;
	for (int i = 0; i < key->ncolumns; i++)
	{
		if (index->rd_index->indkey.values[i] != key->columns[i].attnum ||
			get_opfamily_member(index->rd_opfamily[i], index->rd_opcintype[i],
								index->rd_opcintype[i], BTEqualStrategyNumber) != key->columns[i].equals)
			return false;
	}
	return true;
}

/* What scans call, and the order in which they go: from the smallest key to the largest. */
static bool
is_native_index(Relation index)
{
	for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index); i++)
	{
		if (!is_pinned(index->rd_opfamily[i]) || !is_pinned(index_getprocid(index, i + 1, BTORDER_PROC)) ||
			(index->rd_indoption[i] & INDOPTION_DESC))
			return false;
	}
	return RelationGetIndexPredicate(index) == NIL && RelationGetIndexExpressions(index) == NIL;
}

static bool
has_native_key(Relation rel, const Key *key)
{
	Relation	index = index_open(key->index, AccessShareLock);
	bool		native = is_compiled_index(rel, index, key) && is_native_index(index);

	for (int i = 0; i < key->ncolumns && native; i++)
	{
		const KeyColumn *column = &key->columns[i];
		Form_pg_attribute att = compiled_attribute(rel, column->attnum, column->type);

		native = att && is_native_key_column(att) &&
			is_pinned(get_opcode(column->equals)) && is_pinned(get_opcode(column->greater));
	}
	index_close(index, NoLock);
	return native;
}

static bool
has_native_columns(Relation rel, const Template *template)
{
	ListCell   *lc;

	foreach(lc, template->columns)
	{
		const TemplateColumn *column = lfirst(lc);
		Form_pg_attribute att = compiled_attribute(rel, column->attnum, column->type);

		if (att == NULL || !is_native_column(att, column->form))
			return false;
	}
	return true;
}

/* The owner may have taken away his own right, or be one whom policies apply to. */
static bool
owner_reads_all(Relation rel)
{
	Oid			owner = rel->rd_rel->relowner;

	return !(rel->rd_rel->relrowsecurity && rel->rd_rel->relforcerowsecurity) &&
		pg_class_aclcheck(RelationGetRelid(rel), owner, ACL_SELECT) == ACLCHECK_OK &&
		COMPAT_NAMESPACE_ACLCHECK(RelationGetNamespace(rel), owner) == ACLCHECK_OK;
}

bool
rows_are_native(Relation rel, const Mirror *mirror)
{
	if (mirror->key == NULL)
		return true;			/* there is nothing to read, and no way to do it */
	return rel->rd_rel->relkind == RELKIND_RELATION && is_pinned(rel->rd_rel->relam) &&
		rel->rd_rel->relowner == mirror->owner && owner_reads_all(rel) && has_native_key(rel, mirror->key) &&
		(mirror->template == NULL || has_native_columns(rel, mirror->template));
}

/*
 * Reading
 */

typedef struct Reader
{
	const Mirror *mirror;
	MemoryContext context;		/* of one call */
	MemoryContext row_context;
	Relation	rel;
	Relation	index;
	TupleTableSlot *slot;
	AttrNumber	last_attnum;	/* that is looked at */
	FmgrInfo   *to_json;		/* one a column of the template, in COLUMN_JSON only */
	bool	   *is_enum;		/* or an array of enums */
	Datum	   *values;			/* of the template's columns */
	bool	   *nulls;
	StringInfoData marker;
} Reader;

/*
 * Under the lock nothing of this can have changed since the mirror was compiled.
 * But a value that is taken for one of another type is any memory that somebody
 * wants to see.
 */
static void
check_compiled(Reader *reader)
{
	const Mirror *mirror = reader->mirror;
	bool		same = reader->rel->rd_rel->relkind == RELKIND_RELATION &&
		reader->rel->rd_rel->relowner == mirror->owner &&
		is_compiled_index(reader->rel, reader->index, mirror->key);
	ListCell   *lc;

	for (int i = 0; i < mirror->key->ncolumns && same; i++)
		same = compiled_attribute(reader->rel, mirror->key->columns[i].attnum,
								  mirror->key->columns[i].type) != NULL;
	foreach(lc, mirror->template ? mirror->template->columns : NIL)
	{
		const TemplateColumn *column = lfirst(lc);

		same = same && compiled_attribute(reader->rel, column->attnum, column->type) != NULL;
	}
	if (!same)
		mirror_raise_changed(mirror);
}

/* A function learns the type of a value from the expression that it is called for. */
static void
init_to_json(FmgrInfo *function, Oid type)
{
	Const	   *argument = makeNullConst(type, -1, InvalidOid);

	fmgr_info(F_TO_JSON, function);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_TO_JSON, JSONOID, list_make1(argument), InvalidOid,
											 InvalidOid, COERCE_EXPLICIT_CALL), function);
}

static void
init_columns(Reader *reader)
{
	const Mirror *mirror = reader->mirror;
	List	   *columns = mirror->template ? mirror->template->columns : NIL;
	int			n = list_length(columns);

	reader->to_json = palloc0(sizeof(FmgrInfo) * (n + 1));
	reader->is_enum = palloc0(sizeof(bool) * (n + 1));
	reader->values = palloc0(sizeof(Datum) * (n + 1));
	reader->nulls = palloc0(sizeof(bool) * (n + 1));
	for (int i = 0; i < n; i++)
	{
		const TemplateColumn *column = list_nth(columns, i);
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(reader->rel), column->attnum - 1);

		reader->last_attnum = Max(reader->last_attnum, column->attnum);
		reader->is_enum[i] = OidIsValid(enum_of(column->type));
		if (column->form == COLUMN_JSON)
			init_to_json(&reader->to_json[i], reader->is_enum[i] ? TEXTARRAYOID : att->atttypid);
	}
	for (int i = 0; i < mirror->key->ncolumns; i++)
		reader->last_attnum = Max(reader->last_attnum, mirror->key->columns[i].attnum);
}

/* Nothing is left to be released by hand where an error ends the subtransaction. */
static Reader *
open_reader(const Mirror *mirror)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "mixpeek rows",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Reader	   *reader = palloc0(sizeof(Reader));

	reader->mirror = mirror;
	reader->context = context;
	reader->row_context = AllocSetContextCreate(context, "mixpeek row", ALLOCSET_DEFAULT_SIZES);
	reader->rel = table_open(mirror->relation, NoLock);
	reader->index = index_open(mirror->key->index, AccessShareLock);
	check_compiled(reader);
	init_columns(reader);
	initStringInfo(&reader->marker);
	reader->slot = table_slot_create(reader->rel, NULL);
	PushActiveSnapshot(GetLatestSnapshot());
	MemoryContextSwitchTo(old);
	return reader;
}

static void
close_reader(Reader *reader)
{
	ExecDropSingleTupleTableSlot(reader->slot);
	PopActiveSnapshot();
	index_close(reader->index, NoLock);
	table_close(reader->rel, NoLock);
	MemoryContextDelete(reader->context);
}

/*
 * What to_json() makes of a value.  Not of an enum: it would look for a cast, which
 * anybody may have made meanwhile.  The labels are texts, and so are those of an array.
 */
static Datum
json_of(Reader *reader, int i, TemplateColumn *column, Datum value)
{
	FmgrInfo   *to_json = &reader->to_json[i];
	char	   *text;
	StringInfoData json;

	if (!reader->is_enum[i])
		return FunctionCall1(to_json, value);
	text = OutputFunctionCall(&column->output, value);
	if (OidIsValid(get_element_type(column->type)))
		return FunctionCall1(to_json, OidInputFunctionCall(F_ARRAY_IN, text, TEXTOID, -1));
	initStringInfo(&json);
	escape_json(&json, text);
	return PointerGetDatum(cstring_to_text_with_len(json.data, json.len));
}

/* The key's text of the row in the slot. */
static char *
slot_key(Reader *reader)
{
	const Key  *key = reader->mirror->key;
	Datum		values[INDEX_MAX_KEYS];

	for (int i = 0; i < key->ncolumns; i++)
	{
		bool		isnull;

		values[i] = slot_getattr(reader->slot, key->columns[i].attnum, &isnull);
		if (isnull)
			elog(ERROR, "key column %d is null", key->columns[i].attnum);
	}
	return key_to_text(key, values);
}

static void
hand_over(Reader *reader, MirrorRowFunction function, void *arg)
{
	const Mirror *mirror = reader->mirror;
	MemoryContext old = MemoryContextSwitchTo(reader->row_context);
	TemplateRow row = {reader->values, reader->nulls};
	ListCell   *lc;

	slot_getsomeattrs(reader->slot, reader->last_attnum);
	foreach(lc, mirror->template->columns)
	{
		TemplateColumn *column = lfirst(lc);
		int			i = foreach_current_index(lc);

		reader->values[i] = reader->slot->tts_values[column->attnum - 1];
		reader->nulls[i] = reader->slot->tts_isnull[column->attnum - 1];
		if (column->form == COLUMN_JSON && !reader->nulls[i])
			reader->values[i] = json_of(reader, i, column, reader->values[i]);
	}
	row.key = slot_key(reader);
	resetStringInfo(&reader->marker);
	appendStringInfoString(&reader->marker, mirror->marker_prefix);
	appendStringInfoString(&reader->marker, row.key);
	row.marker = reader->marker.data;
	function(arg, row.key, &row);
	MemoryContextSwitchTo(old);
	MemoryContextReset(reader->row_context);
}

/* A condition on the index' column i: "= value", or "> value". */
static void
init_condition(Reader *reader, ScanKey condition, int i, StrategyNumber strategy, Datum value)
{
	const KeyColumn *column = &reader->mirror->key->columns[i];

	ScanKeyEntryInitialize(condition, 0, i + 1, strategy, InvalidOid, reader->index->rd_indcollation[i],
						   get_opcode(strategy == BTEqualStrategyNumber ? column->equals : column->greater),
						   value);
}

static IndexScanDesc
begin_scan(Reader *reader, int nconditions)
{
	return COMPAT_INDEX_BEGINSCAN(reader->rel, reader->index, GetActiveSnapshot(), nconditions);
}

static int
compare_keys(const void *a, const void *b, void *arg)
{
	Reader	   *reader = arg;
	const Datum *x = *(Datum *const *) a;
	const Datum *y = *(Datum *const *) b;

	for (int i = 0; i < reader->mirror->key->ncolumns; i++)
	{
		int			order = DatumGetInt32(FunctionCall2Coll(index_getprocinfo(reader->index, i + 1, BTORDER_PROC),
															reader->index->rd_indcollation[i], x[i], y[i]));

		if (order != 0)
			return order;
	}
	return 0;
}

/* The keys in the index' order: those that follow each other are found side by side. */
static Datum **
sorted_keys(Reader *reader, char *const *keys, int nkeys)
{
	int			ncolumns = reader->mirror->key->ncolumns;
	Datum	  **sorted = palloc(sizeof(Datum *) * nkeys);
	Datum	   *values = palloc(sizeof(Datum) * nkeys * ncolumns);

	for (int k = 0; k < nkeys; k++)
	{
		sorted[k] = values + k * ncolumns;
		key_from_text(reader->mirror->key, keys[k], sorted[k]);
	}
	if (nkeys > 1)
		qsort_arg(sorted, nkeys, sizeof(Datum *), compare_keys, reader);
	return sorted;
}

/* One by one, in the order of the index. */
static void
read_in_order(Reader *reader, char *const *keys, int nkeys, MirrorRowFunction function, void *arg)
{
	int			ncolumns = reader->mirror->key->ncolumns;
	Datum	  **sorted = sorted_keys(reader, keys, nkeys);
	ScanKeyData conditions[INDEX_MAX_KEYS];
	IndexScanDesc scan = begin_scan(reader, ncolumns);

	for (int i = 0; i < ncolumns; i++)
		init_condition(reader, &conditions[i], i, BTEqualStrategyNumber, sorted[0][i]);
	for (int k = 0; k < nkeys; k++)
	{
		CHECK_FOR_INTERRUPTS();
		if (k > 0 && compare_keys(&sorted[k - 1], &sorted[k], reader) == 0)
			continue;			/* another text of the same key */
		for (int i = 0; i < ncolumns; i++)
			conditions[i].sk_argument = sorted[k][i];
		index_rescan(scan, conditions, ncolumns, NULL, 0);
		if (index_getnext_slot(scan, ForwardScanDirection, reader->slot))	/* there is but one */
			hand_over(reader, function, arg);
	}
	index_endscan(scan);
}

/* Keys of one column in one scan: the index itself sorts an array's elements, and knows which are equal. */
static void
read_together(Reader *reader, char *const *keys, int nkeys, MirrorRowFunction function, void *arg)
{
	const KeyColumn *column = &reader->mirror->key->columns[0];
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(reader->rel), column->attnum - 1);
	Datum	   *elements = palloc(sizeof(Datum) * nkeys);
	IndexScanDesc scan = begin_scan(reader, 1);
	ScanKeyData condition;

	for (int k = 0; k < nkeys; k++)
		key_from_text(reader->mirror->key, keys[k], &elements[k]);
	init_condition(reader, &condition, 0, BTEqualStrategyNumber,
				   PointerGetDatum(construct_array(elements, nkeys, column->type,
												   att->attlen, att->attbyval, att->attalign)));
	condition.sk_flags = SK_SEARCHARRAY;
	index_rescan(scan, &condition, 1, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, reader->slot))
	{
		CHECK_FOR_INTERRUPTS();
		hand_over(reader, function, arg);
	}
	index_endscan(scan);
}

/* There is no array of arrays. */
static bool
may_read_together(const Key *key)
{
	return key->ncolumns == 1 && !OidIsValid(get_element_type(key->columns[0].type));
}

void
rows_read(Mirror *mirror, char *const *keys, int nkeys, MirrorRowFunction function, void *arg)
{
	GuardState	guard;
	Reader	   *reader;
	MemoryContext old;

	guard_enter(&guard, mirror->owner);
	reader = open_reader(mirror);
	old = MemoryContextSwitchTo(reader->context);
	if (may_read_together(mirror->key))
		read_together(reader, keys, nkeys, function, arg);
	else
		read_in_order(reader, keys, nkeys, function, arg);
	MemoryContextSwitchTo(old);
	close_reader(reader);
	guard_leave(&guard);
}

/*
 * Walking the table in key order
 */

/* Appends the keys that meet the conditions, in memory of the caller's. */
static List *
append_keys(Reader *reader, ScanKey conditions, int nconditions, List *keys, int limit, MemoryContext result)
{
	IndexScanDesc scan = begin_scan(reader, nconditions);

	index_rescan(scan, conditions, nconditions, NULL, 0);
	while (list_length(keys) < limit && index_getnext_slot(scan, ForwardScanDirection, reader->slot))
	{
		MemoryContext old = MemoryContextSwitchTo(result);

		CHECK_FOR_INTERRUPTS();
		keys = lappend(keys, slot_key(reader));
		MemoryContextSwitchTo(old);
	}
	index_endscan(scan);
	return keys;
}

/*
 * Behind (a, b) come first the keys that begin with a and have more than b, then those
 * that have more than a: as many scans as columns.
 */
static List *
append_keys_behind(Reader *reader, const char *after, int limit, MemoryContext result)
{
	const Key  *key = reader->mirror->key;
	ScanKeyData conditions[INDEX_MAX_KEYS];
	Datum		values[INDEX_MAX_KEYS];
	List	   *keys = NIL;

	key_from_text(key, after, values);
	for (int i = 0; i < key->ncolumns; i++)
		init_condition(reader, &conditions[i], i, BTEqualStrategyNumber, values[i]);
	for (int i = key->ncolumns - 1; i >= 0 && list_length(keys) < limit; i--)
	{
		init_condition(reader, &conditions[i], i, BTGreaterStrategyNumber, values[i]);
		keys = append_keys(reader, conditions, i + 1, keys, limit, result);
	}
	return keys;
}

List *
rows_scan_keys(Mirror *mirror, const char *after, int limit)
{
	MemoryContext result = CurrentMemoryContext;
	GuardState	guard;
	Reader	   *reader;
	List	   *keys;

	if (mirror->key == NULL)
		elog(ERROR, "%s", mirror->problem);
	guard_enter(&guard, mirror->owner);
	reader = open_reader(mirror);
	MemoryContextSwitchTo(reader->context);
	keys = after ? append_keys_behind(reader, after, limit, result) :
		append_keys(reader, NULL, 0, NIL, limit, result);
	MemoryContextSwitchTo(result);
	close_reader(reader);
	guard_leave(&guard);
	return keys;
}
