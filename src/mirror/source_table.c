/*-------------------------------------------------------------------------
 *
 * source_table.c
 *		SQL on a mirrored table: its rows are read, its keys scanned, and
 *		documents' ids and enrichments written back.
 *
 * Statements are planned each time that they run, as the table's owner.  No name in
 * them is looked up by search path.  Keys are passed as arrays of the key columns' own types.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/user.h"
#include "catalog/pg_class.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mirror/bound_statement.h"
#include "mirror/source_table.h"
#include "remote/marker.h"
#include "tcop/dest.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/ruleutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* The row that source_table_write_back() is changing; key is NULL if there is none. */
static struct
{
	Oid			relation;
	const char *key;
}			written_back;

/*
 * Parts of statements.  The table's alias is t.
 */

/* Return the operator as OPERATOR(schema.name). */
static const char *
qualify_operator(Oid operator)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	name = psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(form->oprnamespace)),
					NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return name;
}

/* Append [ONLY] schema.table.  ONLY leaves out inheritance children's rows, which are not mirrored. */
static void
append_table(StringInfo sql, const Mirror *mirror)
{
	if (get_rel_relkind(mirror->relation) != RELKIND_PARTITIONED_TABLE)
		appendStringInfoString(sql, "ONLY ");
	appendStringInfoString(sql,
						   quote_qualified_identifier(get_namespace_name(get_rel_namespace(mirror->relation)),
													  get_rel_name(mirror->relation)));
}

/* Append FROM table t. */
static void
append_from(StringInfo sql, const Mirror *mirror)
{
	appendStringInfoString(sql, " FROM ");
	append_table(sql, mirror);
	appendStringInfoString(sql, " t");
}

/* Append the key's columns: t.a, t.b */
static void
append_key_columns(StringInfo sql, const Mirror *mirror)
{
	for (int i = 0; i < mirror->key->ncolumns; i++)
		appendStringInfo(sql, "%st.%s", i ? ", " : "",
						 quote_identifier(mirror->key->columns[i].name));
}

/*
 * Append a key column as the index compares it: t.a, t.a COLLATE c, or t.a::b where a's type is a domain over
 * b, since not all operators of b, such as those of enums, are found for the domain.
 */
static void
append_compared_column(StringInfo sql, const KeyColumn *column)
{
	appendStringInfo(sql, "t.%s", quote_identifier(column->name));
	if (column->is_domain)
		appendStringInfo(sql, "::%s", format_type_extended(column->type, -1, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
	if (OidIsValid(column->collation))
		appendStringInfo(sql, " COLLATE %s", generate_collation_name(column->collation));
}

/* Append a comparison of a key column: t.a OPERATOR(schema.=) followed by the other operand. */
static void
append_comparison(StringInfo sql, const KeyColumn *column, Oid operator, const char *operand)
{
	append_compared_column(sql, column);
	appendStringInfo(sql, " %s %s", qualify_operator(operator), operand);
}

/* Append ", column" for each of the template's columns, in the form that the template expects. */
static void
append_template_columns(StringInfo sql, const Mirror *mirror)
{
	ListCell   *lc;

	foreach(lc, mirror->template->columns)
	{
		TemplateColumn *column = lfirst(lc);

		appendStringInfo(sql, column->form == COLUMN_JSON ?
						 ", pg_catalog.to_json(t.%s)::pg_catalog.text" : ", t.%s",
						 quote_identifier(column->name));
	}
}

/*
 * Check whether keys must be looked up one by one because they cannot be passed as
 * arrays: there are no arrays of arrays, and unnest() turns an array of a composite
 * type into several columns.
 */
static bool
reads_one_by_one(const Key *key)
{
	for (int i = 0; i < key->ncolumns; i++)
	{
		if (!OidIsValid(get_array_type(key->columns[i].type)) ||
			(key->ncolumns > 1 && type_is_rowtype(key->columns[i].type)))
			return true;
	}
	return false;
}

/*
 * Append FROM and the rows that match the filter, if there is one, as t.  In the filter, columns are named
 * without the alias.
 */
static void
append_from_matching(StringInfo sql, const Mirror *mirror)
{
	Bitmapset  *columns = NULL;
	int			attnum = -1;
	const char *separator = "";
	ListCell   *lc;

	if (mirror->arguments.filter == NULL)
	{
		append_from(sql, mirror);
		return;
	}
	for (int i = 0; i < mirror->key->ncolumns; i++)
		columns = bms_add_member(columns, mirror->key->columns[i].attnum);
	foreach(lc, mirror->template->columns)
		columns = bms_add_member(columns, ((TemplateColumn *) lfirst(lc))->attnum);
	appendStringInfoString(sql, " FROM (SELECT ");
	while ((attnum = bms_next_member(columns, attnum)) >= 0)
	{
		appendStringInfo(sql, "%s%s", separator, quote_identifier(get_attname(mirror->relation, attnum, false)));
		separator = ", ";
	}
	appendStringInfoString(sql, " FROM ");
	append_table(sql, mirror);
	/* the line feed ends a comment */
	appendStringInfo(sql, " WHERE (%s\n)) t", mirror->arguments.filter);
}

/*
 * Append FROM and WHERE of the statement that reads rows by key: t.k = ANY ($1), or for
 * several columns a join with the unnested arrays, or t.k = $1 AND ... for one key.
 */
static void
append_read_source(StringInfo sql, const Mirror *mirror)
{
	const Key  *key = mirror->key;

	append_from_matching(sql, mirror);
	if (reads_one_by_one(key))
	{
		for (int i = 0; i < key->ncolumns; i++)
		{
			appendStringInfoString(sql, i ? " AND " : " WHERE ");
			append_comparison(sql, &key->columns[i], key->columns[i].equals, psprintf("$%d", i + 1));
		}
		return;
	}
	if (key->ncolumns == 1)
	{
		appendStringInfoString(sql, " WHERE ");
		append_comparison(sql, &key->columns[0], key->columns[0].equals, "ANY ($1)");
		return;
	}
	appendStringInfoString(sql, ", ROWS FROM (");
	for (int i = 0; i < key->ncolumns; i++)
		appendStringInfo(sql, "%spg_catalog.unnest($%d)", i ? ", " : "", i + 1);
	appendStringInfoString(sql, ") AS k (");
	for (int i = 0; i < key->ncolumns; i++)
		appendStringInfo(sql, "%sc%d", i ? ", " : "", i);
	appendStringInfoString(sql, ") WHERE ");
	for (int i = 0; i < key->ncolumns; i++)
	{
		appendStringInfoString(sql, i ? " AND " : "");
		append_comparison(sql, &key->columns[i], key->columns[i].equals, psprintf("k.c%d", i));
	}
}

/* Fill in the types of make_read_statement()'s parameters, one for each key column. */
static void
set_read_types(const Key *key, Oid *types)
{
	bool		one_by_one = reads_one_by_one(key);

	for (int i = 0; i < key->ncolumns; i++)
		types[i] = one_by_one ? key->columns[i].type : get_array_type(key->columns[i].type);
}

/* Return the statement that reads rows by key. */
static char *
make_read_statement(const Mirror *mirror)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	append_key_columns(&sql, mirror);
	append_template_columns(&sql, mirror);
	append_read_source(&sql, mirror);
	return sql.data;
}

/*
 * Reading rows
 */

/* A receiver that hands each row of the running statement to the caller's function. */
typedef struct RowReceiver
{
	DestReceiver pub;
	const Mirror *mirror;
	MirrorRowFunction function;
	void	   *arg;
	MemoryContext row_context;
} RowReceiver;

static bool
receive_source_row(TupleTableSlot *slot, DestReceiver *self)
{
	RowReceiver *receiver = (RowReceiver *) self;
	const Mirror *mirror = receiver->mirror;
	int			nkeys = mirror->key->ncolumns;
	MemoryContext old = MemoryContextSwitchTo(receiver->row_context);
	TemplateRow row;

	slot_getallattrs(slot);
	row.key = key_to_text(mirror->key, slot->tts_values);
	row.marker = marker_of_key(mirror->marker_prefix, row.key);
	row.values = slot->tts_values + nkeys;
	row.nulls = slot->tts_isnull + nkeys;
	receiver->function(receiver->arg, row.key, &row);
	MemoryContextSwitchTo(old);
	MemoryContextReset(receiver->row_context);
	return true;
}

/*
 * Check that column i of a result has the type that was compiled.  A value that is read
 * as one of another type would disclose arbitrary memory.
 */
static void
check_result_type(const Mirror *mirror, TupleDesc desc, int i, Oid type)
{
	if (i >= desc->natts || getBaseType(TupleDescAttr(desc, i)->atttypid) != type)
		mirror_raise_changed(mirror);
}

static void
check_key_types(const Mirror *mirror, TupleDesc desc)
{
	for (int i = 0; i < mirror->key->ncolumns; i++)
		check_result_type(mirror, desc, i, mirror->key->columns[i].type);
}

static void
start_receiver(DestReceiver *self, int operation, TupleDesc desc)
{
	const Mirror *mirror = ((RowReceiver *) self)->mirror;
	ListCell   *lc;

	check_key_types(mirror, desc);
	foreach(lc, mirror->template->columns)
	{
		const TemplateColumn *column = lfirst(lc);

		check_result_type(mirror, desc, mirror->key->ncolumns + foreach_current_index(lc),
						  column->form == COLUMN_JSON ? TEXTOID : column->type);
	}
}

static void
end_receiver(DestReceiver *self)
{
}

/* Return one array a key column, with the values of all keys. */
static Datum *
make_key_arrays(const Key *key, char *const *keys, int nkeys)
{
	Datum	   *arrays = palloc(sizeof(Datum) * key->ncolumns);
	Datum	   *elements = palloc(sizeof(Datum) * key->ncolumns * nkeys);
	Datum		values[INDEX_MAX_KEYS];

	for (int k = 0; k < nkeys; k++)
	{
		key_from_text(key, keys[k], values);
		for (int i = 0; i < key->ncolumns; i++)
			elements[i * nkeys + k] = values[i];
	}
	for (int i = 0; i < key->ncolumns; i++)
	{
		int16		len;
		bool		byval;
		char		align;

		get_typlenbyvalalign(key->columns[i].type, &len, &byval, &align);
		arrays[i] = PointerGetDatum(construct_array(elements + i * nkeys, nkeys,
													key->columns[i].type, len, byval, align));
	}
	return arrays;
}

/* Return parameters for a statement; none is null. */
static ParamListInfo
make_params(int n, const Datum *values, const Oid *types)
{
	ParamListInfo params = makeParamList(n);

	for (int i = 0; i < n; i++)
	{
		params->params[i].value = values[i];
		params->params[i].isnull = false;
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = types[i];
	}
	return params;
}

static void
execute_read(Mirror *mirror, const char *sql, const Datum *values, const Oid *types, DestReceiver *dest)
{
	SPIExecuteOptions options = {0};

	options.params = make_params(mirror->key->ncolumns, values, types);
	options.read_only = true;
	options.dest = dest;
	bound_statement_run(mirror->relation, sql, &options);
}

void
source_table_read_rows(Mirror *mirror, char *const *keys, int nkeys,
					   MirrorRowFunction function, void *arg)
{
	RowReceiver receiver = {0};
	Oid			types[INDEX_MAX_KEYS];
	Datum		values[INDEX_MAX_KEYS];
	UserState	guard;
	bool		one_by_one = reads_one_by_one(mirror->key);
	char	   *sql;

	receiver.pub.receiveSlot = receive_source_row;
	receiver.pub.rStartup = start_receiver;
	receiver.pub.rShutdown = end_receiver;
	receiver.pub.rDestroy = end_receiver;
	receiver.pub.mydest = DestNone;
	receiver.mirror = mirror;
	receiver.function = function;
	receiver.arg = arg;
	receiver.row_context = AllocSetContextCreate(CurrentMemoryContext, "mixpeek row",
												 ALLOCSET_DEFAULT_SIZES);
	set_read_types(mirror->key, types);

	user_switch(&guard, mirror->owner);
	SPI_connect();
	PushActiveSnapshot(GetLatestSnapshot());	/* also for the input
												 * functions of the key's
												 * types */
	sql = make_read_statement(mirror);
	if (!one_by_one)
		execute_read(mirror, sql, make_key_arrays(mirror->key, keys, nkeys), types, &receiver.pub);
	for (int k = 0; one_by_one && k < nkeys; k++)
	{
		key_from_text(mirror->key, keys[k], values);
		execute_read(mirror, sql, values, types, &receiver.pub);
	}
	PopActiveSnapshot();
	SPI_finish();
	user_restore(&guard);
	MemoryContextDelete(receiver.row_context);
}

/*
 * Scanning keys
 */

/* A scan for keys in the order of the index. */
typedef struct KeyScan
{
	Mirror	   *mirror;
	int			limit;			/* number of keys wanted */
	Datum		values[INDEX_MAX_KEYS]; /* of the key after which the scan
										 * begins */
	List	   *keys;			/* found so far */
	MemoryContext context;		/* of keys */
} KeyScan;

/* Append the order of the index: t.a USING OPERATOR(schema.<) NULLS LAST, ... */
static void
append_key_order(StringInfo sql, const Key *key)
{
	for (int i = 0; i < key->ncolumns; i++)
	{
		const KeyColumn *column = &key->columns[i];

		appendStringInfoString(sql, i ? ", " : "");
		append_compared_column(sql, column);
		appendStringInfo(sql, " USING %s NULLS %s",
						 qualify_operator(column->descending ? column->greater : column->less),
						 column->nulls_first ? "FIRST" : "LAST");
	}
}

/*
 * Return the statement that scans keys in the order of the index: those whose first nequal
 * columns are equal to $1..., and whose next one comes after the next parameter.  With nequal -1
 * all keys are scanned.  The last parameter is the limit.
 */
static char *
make_scan_statement(const Mirror *mirror, int nequal)
{
	const Key  *key = mirror->key;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	append_key_columns(&sql, mirror);
	append_from(&sql, mirror);
	for (int i = 0; i <= nequal; i++)
	{
		const KeyColumn *column = &key->columns[i];
		Oid			after = column->descending ? column->less : column->greater;

		appendStringInfoString(&sql, i ? " AND " : " WHERE ");
		append_comparison(&sql, column, i < nequal ? column->equals : after, psprintf("$%d", i + 1));
	}
	appendStringInfoString(&sql, " ORDER BY ");
	append_key_order(&sql, key);
	appendStringInfo(&sql, " LIMIT $%d", nequal + 2);
	return sql.data;
}

/* Add the keys of a statement's result. */
static void
add_result_keys(KeyScan *scan)
{
	const Mirror *mirror = scan->mirror;
	MemoryContext old = MemoryContextSwitchTo(scan->context);
	Datum		values[INDEX_MAX_KEYS];
	bool		isnull;

	check_key_types(mirror, SPI_tuptable->tupdesc);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		for (int i = 0; i < mirror->key->ncolumns; i++)
			values[i] = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, i + 1, &isnull);
		scan->keys = lappend(scan->keys, key_to_text(mirror->key, values));
	}
	MemoryContextSwitchTo(old);
}

/* Scan the keys that make_scan_statement() selects, up to the limit. */
static void
scan_keys_with_equal(KeyScan *scan, int nequal)
{
	SPIExecuteOptions options = {.read_only = true};
	Oid			types[INDEX_MAX_KEYS + 1];
	Datum		values[INDEX_MAX_KEYS + 1];
	int			n = nequal + 1;

	for (int i = 0; i < n; i++)
	{
		types[i] = scan->mirror->key->columns[i].type;
		values[i] = scan->values[i];
	}
	values[n] = Int64GetDatum(scan->limit - list_length(scan->keys));
	types[n] = INT8OID;
	options.params = make_params(n + 1, values, types);
	bound_statement_run(scan->mirror->relation, make_scan_statement(scan->mirror, nequal), &options);
	add_result_keys(scan);
}

/*
 * The keys after (a, b) are the keys (a, > b), then the keys (> a): one statement for each column.
 * Each column is compared by its own operator.  A row comparison would look up one operator's name
 * for all columns; an OR of both conditions could not use the index.
 */
List *
source_table_scan_keys(Mirror *mirror, const char *after, int limit)
{
	KeyScan		scan = {.mirror = mirror,.limit = limit,.context = CurrentMemoryContext};
	UserState	guard;

	user_switch(&guard, mirror->owner);
	SPI_connect();
	PushActiveSnapshot(GetLatestSnapshot());
	if (after)
		key_from_text(mirror->key, after, scan.values);
	if (after == NULL)
		scan_keys_with_equal(&scan, -1);
	for (int nequal = mirror->key->ncolumns - 1; after && nequal >= 0; nequal--)
	{
		if (list_length(scan.keys) < limit)
			scan_keys_with_equal(&scan, nequal);
	}
	PopActiveSnapshot();
	SPI_finish();
	user_restore(&guard);
	return scan.keys;
}

/*
 * Writing back
 */

/*
 * Append prefix, name, operator and new value of the columns to write, for example
 * "doc_id = $1, data = CASE WHEN $1 IS NOT NULL THEN COALESCE($2, t.data) END".  The COALESCE keeps the
 * stored value as long as no enrichments have arrived; it is left out to clear the column.
 */
static void
append_write_back_columns(StringInfo sql, const Mirror *mirror, const char *prefix,
						  const char *operator, const char *separator, bool clear)
{
	const MirrorArguments *arguments = &mirror->arguments;

	if (arguments->document_id_column)
		appendStringInfo(sql, "%s%s %s $1", prefix,
						 quote_identifier(arguments->document_id_column), operator);
	if (arguments->document_id_column && arguments->enrichments_column)
		appendStringInfoString(sql, separator);
	if (arguments->enrichments_column && clear)
		appendStringInfo(sql, "%s%s %s $2", prefix,
						 quote_identifier(arguments->enrichments_column), operator);
	else if (arguments->enrichments_column)
		appendStringInfo(sql, "%s%s %s CASE WHEN $1 IS NOT NULL THEN COALESCE($2, t.%s) END", prefix,
						 quote_identifier(arguments->enrichments_column), operator,
						 quote_identifier(arguments->enrichments_column));
}

/* Append FROM and WHERE that find the row with the key in $3... if its write-back columns are out of date. */
static void
append_stale_row(StringInfo sql, const Mirror *mirror, bool clear)
{
	const Key  *key = mirror->key;

	append_from(sql, mirror);
	appendStringInfoString(sql, " WHERE ");
	for (int i = 0; i < key->ncolumns; i++)
	{
		append_comparison(sql, &key->columns[i], key->columns[i].equals, psprintf("$%d", i + 3));
		appendStringInfoString(sql, " AND ");
	}
	appendStringInfoChar(sql, '(');
	append_write_back_columns(sql, mirror, "t.", "IS DISTINCT FROM", " OR ", clear);
	appendStringInfoChar(sql, ')');
}

/*
 * Return the write-back's statement.  It skips a row that another session has locked,
 * because the agent must not wait for a user's transaction.  Its result is one row of
 * two booleans: whether the row is up to date now, and whether it was locked by us and
 * yet not updated.
 */
static char *
make_write_back_statement(const Mirror *mirror, bool clear)
{
	const Key  *key = mirror->key;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "WITH l AS (SELECT t.ctid AS tid");
	append_stale_row(&sql, mirror, clear);
	appendStringInfoString(&sql, " FOR NO KEY UPDATE SKIP LOCKED), u AS (UPDATE ");
	append_table(&sql, mirror);
	appendStringInfoString(&sql, " t SET ");
	append_write_back_columns(&sql, mirror, "", "=", ", ", clear);
	appendStringInfoString(&sql, " WHERE t.ctid IN (SELECT tid FROM l)");
	for (int i = 0; i < key->ncolumns; i++)
	{
		appendStringInfoString(&sql, " AND ");
		append_comparison(&sql, &key->columns[i], key->columns[i].equals, psprintf("$%d", i + 3));
	}
	appendStringInfoString(&sql, " RETURNING 1) SELECT (SELECT count(*) FROM u) = (SELECT count(*)");
	append_stale_row(&sql, mirror, clear);
	appendStringInfoString(&sql, "), (SELECT count(*) FROM u) < (SELECT count(*)");
	append_stale_row(&sql, mirror, clear);
	appendStringInfoString(&sql, " AND t.ctid IN (SELECT tid FROM l))");
	return sql.data;
}

bool
source_table_is_written_back(Oid relation, const char *key)
{
	return written_back.key && written_back.relation == relation &&
		strcmp(written_back.key, key) == 0;
}

static void
execute_write_back(Mirror *mirror, const char *key, ParamListInfo params, bool clear)
{
	SPIExecuteOptions options = {.params = params};

	written_back.relation = mirror->relation;
	written_back.key = key;
	PG_TRY();
	{
		bound_statement_run(mirror->relation, make_write_back_statement(mirror, clear), &options);
	}
	PG_FINALLY();
	{
		written_back.key = NULL;
	}
	PG_END_TRY();
}

bool
source_table_write_back(Mirror *mirror, const char *key,
						const char *document_id, Jsonb *enrichments, bool clear)
{
	Datum		values[INDEX_MAX_KEYS + 2];
	Oid			types[INDEX_MAX_KEYS + 2] = {TEXTOID, JSONBOID};
	int			n = mirror->key->ncolumns + 2;
	ParamListInfo params;
	UserState	guard;
	bool		isnull;
	bool		done;

	values[0] = document_id ? CStringGetTextDatum(document_id) : (Datum) 0;
	values[1] = PointerGetDatum(enrichments);
	for (int i = 2; i < n; i++)
		types[i] = mirror->key->columns[i - 2].type;

	user_switch(&guard, mirror->owner);
	SPI_connect();
	PushActiveSnapshot(GetLatestSnapshot());
	key_from_text(mirror->key, key, values + 2);
	params = make_params(n, values, types);
	params->params[0].isnull = document_id == NULL;
	params->params[1].isnull = enrichments == NULL;
	execute_write_back(mirror, key, params, clear);
	PopActiveSnapshot();
	if (SPI_processed != 1)
		elog(ERROR, "write-back returned %llu rows", (unsigned long long) SPI_processed);
	done = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	if (DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull)))
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("a trigger of the table has left the row as it was")));
	SPI_finish();
	user_restore(&guard);
	return done;
}
