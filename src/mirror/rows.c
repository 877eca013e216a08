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
#include "base/compat.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/table.h"
#include "access/tableam.h"
#include "base/user.h"
#include "catalog/pg_type.h"
#include "mirror/native.h"
#include "mirror/part.h"
#include "mirror/rows.h"
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
	MemoryContext context;		/* of one call */
	MemoryContext row_context;
	UserState	guard;
	Relation	rel;			/* the mirrored one */
	List	   *parts;			/* of Part: where its rows are */
	FmgrInfo   *to_json;		/* one a column of the template, in
								 * COLUMN_JSON only */
	bool	   *is_enum;		/* or an array of enums */
	Datum	   *values;			/* of the template's columns */
	bool	   *nulls;
} Reader;

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
 * NULL if a partition is locked.  Nothing is left to be released by hand where an
 * error ends the subtransaction.
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
	init_columns(reader);
	opened = parts_open(mirror, reader->rel, &reader->parts);
	MemoryContextSwitchTo(old);
	if (opened)
		return reader;
	close_reader(reader);
	return NULL;
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
slot_key(Reader *reader, Part *part)
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

static void
hand_over(Reader *reader, Part *part, MirrorRowFunction function, void *arg)
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
			reader->values[i] = json_of(reader, i, column, reader->values[i]);
	}
	row.key = slot_key(reader, part);
	row.marker = marker_of_key(mirror->marker_prefix, row.key);
	function(arg, row.key, &row);
	MemoryContextSwitchTo(old);
	MemoryContextReset(reader->row_context);
}

/* A condition on the index' column i: "= value", or "> value". */
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

/* As all the parts' indexes have it. */
static int
compare_keys(const void *a, const void *b, void *arg)
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

/* The keys in the index' order, each once: those that follow each other are found side by side. */
static Datum **
sorted_keys(Reader *reader, char *const *keys, int *nkeys)
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
	qsort_arg(sorted, *nkeys, sizeof(Datum *), compare_keys, part);
	for (int k = 0; k < *nkeys; k++)
	{
		if (n == 0 || compare_keys(&sorted[n - 1], &sorted[k], part) != 0)
			sorted[n++] = sorted[k];	/* not another text of the same key */
	}
	*nkeys = n;
	return sorted;
}

/* Looks for keys one by one; those that it does not find are what is left of them. */
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
		if (index_getnext_slot(scan, ForwardScanDirection, part->slot)) /* there is but one */
			hand_over(reader, part, function, arg);
		else
			keys[nleft++] = keys[k];
	}
	index_endscan(scan);
	return nleft;
}

static void
read_in_order(Reader *reader, char *const *keys, int nkeys, MirrorRowFunction function, void *arg)
{
	Datum	  **left = sorted_keys(reader, keys, &nkeys);
	ListCell   *lc;

	foreach(lc, reader->parts)
	{
		if (nkeys > 0)
			nkeys = read_part(reader, lfirst(lc), left, nkeys, function, arg);
	}
}

/* Keys of one column in one scan: the index itself sorts an array's elements, and knows which are equal. */
static void
read_together(Reader *reader, char *const *keys, int nkeys, MirrorRowFunction function, void *arg)
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
		hand_over(reader, part, function, arg);
	}
	index_endscan(scan);
}

/* There is no array of arrays. */
static bool
may_read_together(const Reader *reader)
{
	const Key  *key = reader->mirror->key;

	return list_length(reader->parts) == 1 && key->ncolumns == 1 &&
		!OidIsValid(get_element_type(key->columns[0].type));
}

bool
rows_read(Mirror *mirror, char *const *keys, int nkeys, MirrorRowFunction function, void *arg)
{
	Reader	   *reader = open_reader(mirror);
	MemoryContext old;

	if (reader == NULL)
		return false;
	old = MemoryContextSwitchTo(reader->context);
	if (may_read_together(reader))
		read_together(reader, keys, nkeys, function, arg);
	else if (reader->parts != NIL)
		read_in_order(reader, keys, nkeys, function, arg);
	MemoryContextSwitchTo(old);
	close_reader(reader);
	return true;
}

/*
 * Walking the table in key order
 */

/*
 * One part's keys behind a key: behind (a, b) come first those that begin with a and have
 * more than b, then those that have more than a, in as many scans as columns.
 */
typedef struct Walk
{
	Part	   *part;
	IndexScanDesc scan;			/* NULL: none is left */
	int			nequal;			/* columns that are the same in the running
								 * scan */
	Datum	   *key;			/* where the walk is */
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

/* Goes to the next key, which is valid until the one after that. */
static void
walk_on(Reader *reader, Walk *walk, const Datum *after)
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
	walk_on(reader, walk, after);
	return walk;
}

/* The walk that is at the smallest key; NULL if all have ended. */
static Walk *
first_walk(List *walks)
{
	Walk	   *first = NULL;
	ListCell   *lc;

	foreach(lc, walks)
	{
		Walk	   *walk = lfirst(lc);

		if (walk->scan && (first == NULL || compare_keys(&walk->key, &first->key, walk->part) < 0))
			first = walk;
	}
	return first;
}

static List *
walk_parts(Reader *reader, const Datum *after, int limit, MemoryContext result)
{
	List	   *walks = NIL;
	List	   *keys = NIL;
	ListCell   *lc;
	Walk	   *walk;

	foreach(lc, reader->parts)
		walks = lappend(walks, begin_walk(reader, lfirst(lc), after));
	while (list_length(keys) < limit && (walk = first_walk(walks)) != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(result);

		CHECK_FOR_INTERRUPTS();
		keys = lappend(keys, slot_key(reader, walk->part));
		MemoryContextSwitchTo(old);
		walk_on(reader, walk, after);
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
rows_scan_keys(Mirror *mirror, const char *after, int limit, List **keys)
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
	*keys = walk_parts(reader, after ? values : NULL, limit, result);
	MemoryContextSwitchTo(result);
	close_reader(reader);
	return true;
}
