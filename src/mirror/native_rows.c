/*-------------------------------------------------------------------------
 *
 * native_rows.c
 *		Reading rows of mirrored tables without calling code of users.
 *
 * The worker has a superuser's rights and all users' API keys, so no function that a
 * table's owner can write may run in it.  Therefore this file executes no statement and
 * looks up no name: a relation is opened by its oid under a lock that the caller holds, its
 * key's index is searched, and the values go through functions that initdb created.
 * Mirrors for which this is not enough (see native.h) are read by agents, with their owners' rights.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/table.h"
#include "access/tableam.h"
#include "base/user.h"
#include "catalog/pg_type.h"
#include "mirror/native.h"
#include "mirror/native_rows.h"
#include "mirror/part.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "remote/marker.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

typedef struct Reader
{
	const Mirror *mirror;
	MemoryContext context;		/* for one call */
	MemoryContext row_context;
	UserState	guard;
	Relation	rel;			/* the mirrored table */
	List	   *parts;			/* Parts that hold its rows */
	FmgrInfo   *to_json;		/* one for each column of the template, valid
								 * for COLUMN_JSON */
	bool	   *is_enum;		/* column is an enum or an array of enums */
	Datum	   *values;			/* of the template's columns */
	bool	   *nulls;
} Reader;

/* Prepare to_json() for a type, which it takes from the expression that it is called for. */
static void
init_to_json(FmgrInfo *function, Oid type)
{
	Const	   *argument = makeNullConst(type, -1, InvalidOid);

	fmgr_info(F_TO_JSON, function);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_TO_JSON, JSONOID, list_make1(argument), InvalidOid,
											 InvalidOid, COERCE_EXPLICIT_CALL), function);
}

static void
init_reader_columns(Reader *reader)
{
	List	   *columns = reader->mirror->template ? reader->mirror->template->columns : NIL;
	int			n = list_length(columns);

	reader->to_json = palloc0(sizeof(FmgrInfo) * (n + 1));
	reader->is_enum = palloc0(sizeof(bool) * (n + 1));
	reader->values = palloc0(sizeof(Datum) * (n + 1));
	reader->nulls = palloc0(sizeof(bool) * (n + 1));
	for (int i = 0; i < n; i++)
	{
		const TemplateColumn *column = list_nth(columns, i);
		Form_pg_attribute att = native_attribute(reader->rel, column->attnum, column->type);

		if (att == NULL)
			mirror_raise_changed(reader->mirror);
		reader->is_enum[i] = OidIsValid(native_enum(column->type));
		if (column->form == COLUMN_JSON)
			init_to_json(&reader->to_json[i], reader->is_enum[i] ? TEXTARRAYOID : att->atttypid);
	}
}

static void
close_reader(Reader *reader)
{
	UserState	guard = reader->guard;

	parts_close(reader->parts);
	PopActiveSnapshot();
	table_close(reader->rel, NoLock);
	MemoryContextDelete(reader->context);
	user_restore(&guard);
}

/*
 * Open a reader as the table's owner.  Returns NULL if a partition is locked.  After an error
 * there is nothing to close: the end of the subtransaction releases everything.
 */
static Reader *
open_reader(const Mirror *mirror)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "mixpeek rows",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Reader	   *reader = palloc0(sizeof(Reader));
	bool		opened;

	user_switch(&reader->guard, mirror->owner);
	PushActiveSnapshot(GetLatestSnapshot());
	reader->mirror = mirror;
	reader->context = context;
	reader->row_context = AllocSetContextCreate(context, "mixpeek row", ALLOCSET_DEFAULT_SIZES);
	reader->rel = table_open(mirror->relation, NoLock);
	init_reader_columns(reader);
	opened = parts_open(mirror, reader->rel, &reader->parts);
	MemoryContextSwitchTo(old);
	if (opened)
		return reader;
	close_reader(reader);
	return NULL;
}

/*
 * Return what to_json() makes of a value.  to_json() is not called for an enum, because it would
 * look for a cast, which a user may have created since native_can_read(); the label is
 * rendered as text instead.
 */
static Datum
make_json(Reader *reader, int i, TemplateColumn *column, Datum value)
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

/* Return the key's text of the row in a part's slot. */
static char *
read_slot_key(Reader *reader, Part *part)
{
	const Key  *key = reader->mirror->key;
	Datum		values[INDEX_MAX_KEYS];

	for (int i = 0; i < key->ncolumns; i++)
	{
		bool		isnull;

		values[i] = slot_getattr(part->slot, part->key_attnums[i], &isnull);
		if (isnull)
			elog(ERROR, "key column %d is null", part->key_attnums[i]);
	}
	return key_to_text(key, values);
}

/* Call the caller's function with the row in a part's slot. */
static void
hand_over_row(Reader *reader, Part *part, MirrorRowFunction function, void *arg)
{
	const Mirror *mirror = reader->mirror;
	MemoryContext old = MemoryContextSwitchTo(reader->row_context);
	TemplateRow row = {reader->values, reader->nulls};
	ListCell   *lc;

	slot_getsomeattrs(part->slot, part->last_attnum);
	foreach(lc, mirror->template->columns)
	{
		TemplateColumn *column = lfirst(lc);
		int			i = foreach_current_index(lc);

		reader->values[i] = part->slot->tts_values[part->attnums[i] - 1];
		reader->nulls[i] = part->slot->tts_isnull[part->attnums[i] - 1];
		if (column->form == COLUMN_JSON && !reader->nulls[i])
			reader->values[i] = make_json(reader, i, column, reader->values[i]);
	}
	row.key = read_slot_key(reader, part);
	row.marker = marker_of_key(mirror->marker_prefix, row.key);
	function(arg, row.key, &row);
	MemoryContextSwitchTo(old);
	MemoryContextReset(reader->row_context);
}

/* Make the condition "= value" or "> value" on column i of the index. */
static void
init_condition(Reader *reader, Part *part, ScanKey condition, int i, StrategyNumber strategy, Datum value)
{
	const KeyColumn *column = &reader->mirror->key->columns[i];

	ScanKeyEntryInitialize(condition, 0, i + 1, strategy, InvalidOid, part->index->rd_indcollation[i],
						   get_opcode(strategy == BTEqualStrategyNumber ? column->equals : column->greater),
						   value);
}

static IndexScanDesc
begin_scan(Part *part, int nconditions)
{
	return COMPAT_INDEX_BEGINSCAN(part->rel, part->index, GetActiveSnapshot(), nconditions);
}

/* Compare two keys in the order of the parts' indexes. */
static int
compare_key_values(const void *a, const void *b, void *arg)
{
	Part	   *part = arg;
	const Datum *x = *(Datum *const *) a;
	const Datum *y = *(Datum *const *) b;

	for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(part->index); i++)
	{
		int			order = DatumGetInt32(FunctionCall2Coll(index_getprocinfo(part->index, i + 1, BTORDER_PROC),
															part->index->rd_indcollation[i], x[i], y[i]));

		if (order != 0)
			return order;
	}
	return 0;
}

/* Parse, sort and deduplicate keys.  In the order of the index they are found faster. */
static Datum **
parse_and_sort_keys(Reader *reader, char *const *keys, int *nkeys)
{
	int			ncolumns = reader->mirror->key->ncolumns;
	Part	   *part = linitial(reader->parts);
	Datum	  **sorted = palloc(sizeof(Datum *) * *nkeys);
	Datum	   *values = palloc(sizeof(Datum) * *nkeys * ncolumns);
	int			n = 0;

	for (int k = 0; k < *nkeys; k++)
	{
		sorted[k] = values + k * ncolumns;
		key_from_text(reader->mirror->key, keys[k], sorted[k]);
	}
	qsort_arg(sorted, *nkeys, sizeof(Datum *), compare_key_values, part);
	for (int k = 0; k < *nkeys; k++)
	{
		if (n == 0 || compare_key_values(&sorted[n - 1], &sorted[k], part) != 0)
			sorted[n++] = sorted[k];	/* two texts may be the same key */
	}
	*nkeys = n;
	return sorted;
}

/* Search a part for keys one by one.  Moves those not found to the front of keys; returns their number. */
static int
read_part(Reader *reader, Part *part, Datum **keys, int nkeys, MirrorRowFunction function, void *arg)
{
	int			ncolumns = reader->mirror->key->ncolumns;
	ScanKeyData conditions[INDEX_MAX_KEYS];
	IndexScanDesc scan = begin_scan(part, ncolumns);
	int			nleft = 0;

	for (int i = 0; i < ncolumns; i++)
		init_condition(reader, part, &conditions[i], i, BTEqualStrategyNumber, keys[0][i]);
	for (int k = 0; k < nkeys; k++)
	{
		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < ncolumns; i++)
			conditions[i].sk_argument = keys[k][i];
		index_rescan(scan, conditions, ncolumns, NULL, 0);
		if (index_getnext_slot(scan, ForwardScanDirection, part->slot)) /* at most one row */
			hand_over_row(reader, part, function, arg);
		else
			keys[nleft++] = keys[k];
	}
	index_endscan(scan);
	return nleft;
}

/* Read keys in all parts, one by one. */
static void
read_keys_one_by_one(Reader *reader, char *const *keys, int nkeys, MirrorRowFunction function, void *arg)
{
	Datum	  **left = parse_and_sort_keys(reader, keys, &nkeys);
	ListCell   *lc;

	foreach(lc, reader->parts)
	{
		if (nkeys > 0)
			nkeys = read_part(reader, lfirst(lc), left, nkeys, function, arg);
	}
}

/* Read keys of one column in one scan; btree sorts and deduplicates the elements of an array. */
static void
read_keys_together(Reader *reader, char *const *keys, int nkeys, MirrorRowFunction function, void *arg)
{
	const KeyColumn *column = &reader->mirror->key->columns[0];
	Part	   *part = linitial(reader->parts);
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(part->rel), part->key_attnums[0] - 1);
	Datum	   *elements = palloc(sizeof(Datum) * nkeys);
	IndexScanDesc scan = begin_scan(part, 1);
	ScanKeyData condition;

	for (int k = 0; k < nkeys; k++)
		key_from_text(reader->mirror->key, keys[k], &elements[k]);
	init_condition(reader, part, &condition, 0, BTEqualStrategyNumber,
				   PointerGetDatum(construct_array(elements, nkeys, column->type,
												   att->attlen, att->attbyval, att->attalign)));
	condition.sk_flags = SK_SEARCHARRAY;
	index_rescan(scan, &condition, 1, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, part->slot))
	{
		CHECK_FOR_INTERRUPTS();
		hand_over_row(reader, part, function, arg);
	}
	index_endscan(scan);
}

/* Check whether read_keys_together() can be used.  It needs an array of keys, and there are no arrays of arrays. */
static bool
may_read_together(const Reader *reader)
{
	const Key  *key = reader->mirror->key;

	return list_length(reader->parts) == 1 && key->ncolumns == 1 &&
		!OidIsValid(get_element_type(key->columns[0].type));
}

bool
native_rows_read(Mirror *mirror, char *const *keys, int nkeys, MirrorRowFunction function, void *arg)
{
	Reader	   *reader = open_reader(mirror);
	MemoryContext old;

	if (reader == NULL)
		return false;
	old = MemoryContextSwitchTo(reader->context);
	if (may_read_together(reader))
		read_keys_together(reader, keys, nkeys, function, arg);
	else if (reader->parts != NIL)
		read_keys_one_by_one(reader, keys, nkeys, function, arg);
	MemoryContextSwitchTo(old);
	close_reader(reader);
	return true;
}

/*
 * Scanning keys
 */

/*
 * Walk over one part's keys that come after a key.  After (a, b) come first the keys (a, > b), then
 * the keys (> a): one scan for each column.
 */
typedef struct Walk
{
	Part	   *part;
	IndexScanDesc scan;			/* NULL at the end of the walk */
	int			nequal;			/* number of leading columns that the running
								 * scan keeps equal */
	Datum	   *key;			/* the current key */
} Walk;

static void
begin_walk_scan(Reader *reader, Walk *walk, const Datum *after)
{
	ScanKeyData conditions[INDEX_MAX_KEYS];

	if (after == NULL)
	{
		walk->scan = begin_scan(walk->part, 0);
		index_rescan(walk->scan, NULL, 0, NULL, 0);
		return;
	}
	for (int i = 0; i <= walk->nequal; i++)
		init_condition(reader, walk->part, &conditions[i], i,
					   i < walk->nequal ? BTEqualStrategyNumber : BTGreaterStrategyNumber, after[i]);
	walk->scan = begin_scan(walk->part, walk->nequal + 1);
	index_rescan(walk->scan, conditions, walk->nequal + 1, NULL, 0);
}

/* Advance to the next key, which is valid until the next call. */
static void
advance_walk(Reader *reader, Walk *walk, const Datum *after)
{
	Part	   *part = walk->part;

	while (walk->scan && !index_getnext_slot(walk->scan, ForwardScanDirection, part->slot))
	{
		index_endscan(walk->scan);
		walk->scan = NULL;
		if (after && walk->nequal-- > 0)
			begin_walk_scan(reader, walk, after);
	}
	for (int i = 0; walk->scan && i < reader->mirror->key->ncolumns; i++)
	{
		bool		isnull;

		walk->key[i] = slot_getattr(part->slot, part->key_attnums[i], &isnull);
	}
}

static Walk *
begin_walk(Reader *reader, Part *part, const Datum *after)
{
	Walk	   *walk = palloc0(sizeof(Walk));

	walk->part = part;
	walk->key = palloc(sizeof(Datum) * reader->mirror->key->ncolumns);
	walk->nequal = reader->mirror->key->ncolumns - 1;
	begin_walk_scan(reader, walk, after);
	advance_walk(reader, walk, after);
	return walk;
}

/* Return the walk with the smallest current key; NULL if all have ended. */
static Walk *
find_smallest_walk(List *walks)
{
	Walk	   *first = NULL;
	ListCell   *lc;

	foreach(lc, walks)
	{
		Walk	   *walk = lfirst(lc);

		if (walk->scan && (first == NULL || compare_key_values(&walk->key, &first->key, walk->part) < 0))
			first = walk;
	}
	return first;
}

/* Merge the walks over all parts; return up to limit keys, as a List of char * in result. */
static List *
scan_parts(Reader *reader, const Datum *after, int limit, MemoryContext result)
{
	List	   *walks = NIL;
	List	   *keys = NIL;
	ListCell   *lc;
	Walk	   *walk;

	foreach(lc, reader->parts)
		walks = lappend(walks, begin_walk(reader, lfirst(lc), after));
	while (list_length(keys) < limit && (walk = find_smallest_walk(walks)) != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(result);

		CHECK_FOR_INTERRUPTS();
		keys = lappend(keys, read_slot_key(reader, walk->part));
		MemoryContextSwitchTo(old);
		advance_walk(reader, walk, after);
	}
	foreach(lc, walks)
	{
		walk = lfirst(lc);
		if (walk->scan)
			index_endscan(walk->scan);
	}
	return keys;
}

bool
native_rows_scan_keys(Mirror *mirror, const char *after, int limit, List **keys)
{
	MemoryContext result = CurrentMemoryContext;
	Datum		values[INDEX_MAX_KEYS];
	Reader	   *reader;

	if (mirror->key == NULL)
		elog(ERROR, "%s", mirror->problem);
	reader = open_reader(mirror);
	if (reader == NULL)
		return false;
	MemoryContextSwitchTo(reader->context);
	if (after)
		key_from_text(mirror->key, after, values);
	*keys = scan_parts(reader, after ? values : NULL, limit, result);
	MemoryContextSwitchTo(result);
	close_reader(reader);
	return true;
}
