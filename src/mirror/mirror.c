/*-------------------------------------------------------------------------
 *
 * mirror.c
 *		What is mirrored, and how: the arguments of a trigger, compiled.
 *
 * The trigger is the mirror's only definition.  Both sides compile it: the
 * writer's needs the key and the set of mirrored columns, the worker's also
 * the statements that read and write the table's rows as its owner.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "base/extension.h"
#include "base/guard.h"
#include "base/user.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "mirror/mirror.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "remote/marker.h"
#include "tcop/dest.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* The row that mirror_write_back() is at; no key: it is not. */
static struct
{
	Oid			relation;
	const char *key;
}			written_back;

/*
 * Compiling
 */

static AttrNumber
write_back_column(Relation rel, const char *name, Oid type, const char *type_name)
{
	AttrNumber	attnum;

	if (name == NULL)
		return InvalidAttrNumber;
	attnum = get_attnum(RelationGetRelid(rel), name);
	if (attnum <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist",
						name, RelationGetRelationName(rel))));
	if (getBaseType(get_atttype(RelationGetRelid(rel), attnum)) != type &&
		!(type == TEXTOID && getBaseType(get_atttype(RelationGetRelid(rel), attnum)) == VARCHAROID))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" must be of type %s", name, type_name)));
	return attnum;
}

static Bitmapset *
add_column(Bitmapset *columns, Relation rel, const char *name)
{
	AttrNumber	attnum = name ? get_attnum(RelationGetRelid(rel), name) : InvalidAttrNumber;

	return attnum > 0 ? bms_add_member(columns, attnum) : columns;
}

/* The column that a trigger's argument names, if it can be a name. */
static List *
add_name(List *names, const Trigger *trigger, const char *argument)
{
	const char *name = arguments_find(trigger->tgnargs, trigger->tgargs, argument);

	return name && strnlen(name, NAMEDATALEN) < NAMEDATALEN ? lappend(names, pstrdup(name)) : names;
}

/*
 * What comes back to any mirror of the table is no part of "all columns".  Other mirrors' arguments
 * may be wrong; and they may vanish with any catalog access.
 */
static Bitmapset *
write_back_columns(Relation rel, const MirrorArguments *arguments)
{
	Oid			function = mirror_function();
	TriggerDesc *triggers = rel->trigdesc;
	Bitmapset  *columns = NULL;
	List	   *names = NIL;
	ListCell   *lc;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (trigger->tgfoid != function)
			continue;
		names = add_name(names, trigger, "document_id_column");
		names = add_name(names, trigger, "enrichments_column");
	}
	foreach(lc, names)
		columns = add_column(columns, rel, lfirst(lc));
	columns = add_column(columns, rel, arguments->document_id_column);
	return add_column(columns, rel, arguments->enrichments_column);
}

static void
compile_template(Mirror *mirror, Relation rel)
{
	MirrorArguments *arguments = &mirror->arguments;
	Bitmapset  *excluded;
	Jsonb	   *document = NULL;

	if (mirror->key == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has no primary key", RelationGetRelationName(rel)),
				 errhint("A mirror finds its rows by key: add a primary key, or set a replica identity index.")));
	mirror->document_id_attnum =
		write_back_column(rel, arguments->document_id_column, TEXTOID, "text");
	mirror->enrichments_attnum =
		write_back_column(rel, arguments->enrichments_column, JSONBOID, "jsonb");
	excluded = write_back_columns(rel, arguments);
	for (int i = 0; i < mirror->key->ncolumns; i++)
		if (bms_is_member(mirror->key->columns[i].attnum, excluded))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("key column \"%s\" cannot be written back to",
							mirror->key->columns[i].name)));
	if (arguments->document)
		document = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
													  CStringGetDatum(arguments->document)));
	mirror->template = template_compile(document, RelationGetDescr(rel), excluded, mirror->table);
}

static void
check_relation(Relation rel)
{
	char		kind = rel->rd_rel->relkind;

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", RelationGetRelationName(rel))));
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("temporary table \"%s\" cannot be mirrored", RelationGetRelationName(rel)),
				 errdetail("Only this session can read its rows.")));
	if (RelationGetNamespace(rel) == extension_schema())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" cannot be mirrored", RelationGetRelationName(rel)),
				 errdetail("The extension's own tables change with every mirrored row.")));
}

typedef struct CompileCall
{
	Mirror	   *mirror;
	Relation	rel;
	int			nargs;
	char	  **args;
} CompileCall;

/* The key comes first: the writer's side notes keys whatever is wrong with the rest. */
static void
compile(void *arg)
{
	CompileCall *call = arg;
	Mirror	   *mirror = call->mirror;
	MemoryContext old = MemoryContextSwitchTo(mirror->context);
	MirrorArguments arguments = {0};

	mirror->key = key_of_relation(call->rel);
	arguments_decode(&arguments, call->nargs, call->args);
	check_relation(call->rel);
	mirror->arguments = arguments;
	mirror->table = arguments_table(&arguments, call->rel);
	compile_template(mirror, call->rel);
	MemoryContextSwitchTo(old);
}

Mirror *
mirror_compile(Relation rel, int nargs, char **args, MemoryContext parent, bool raise)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "mixpeek mirror",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Mirror	   *mirror = palloc0(sizeof(Mirror));
	CompileCall call = {mirror, rel, nargs, args};
	MirrorArguments none = {0};

	int			nest_level = pin_settings();	/* one of them decides how a
												 * name is quoted */

	mirror->context = context;
	mirror->relation = RelationGetRelid(rel);
	mirror->owner = rel->rd_rel->relowner;
	mirror->namespace_hash = GetSysCacheHashValue1(NAMESPACEOID, ObjectIdGetDatum(RelationGetNamespace(rel)));
	arguments_default(&mirror->arguments, nargs, args);
	mirror->table = arguments_table(&none, rel);
	if (raise)
		compile(&call);
	else
		mirror->problem = guard_call(compile, &call);
	unpin_settings(nest_level);
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(context, parent);	/* nothing was left behind by
												 * an error */
	return mirror;
}

void
mirror_free(Mirror *mirror)
{
	MemoryContextDelete(mirror->context);
}

/*
 * Finding triggers
 */

Oid
mirror_function(void)
{
	return extension_object(EXTENSION_MIRROR_ROW);
}

Oid
mirror_topmost_relation(Oid trigger)
{
	Relation	pg_trigger = table_open(TriggerRelationId, AccessShareLock);
	Oid			relation = InvalidOid;

	while (OidIsValid(trigger))
	{
		ScanKeyData key;
		SysScanDesc scan;
		HeapTuple	tuple;

		ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(trigger));
		scan = systable_beginscan(pg_trigger, TriggerOidIndexId, true, NULL, 1, &key);
		trigger = InvalidOid;
		tuple = systable_getnext(scan);
		if (HeapTupleIsValid(tuple))
		{
			relation = ((Form_pg_trigger) GETSTRUCT(tuple))->tgrelid;
			trigger = ((Form_pg_trigger) GETSTRUCT(tuple))->tgparentid;
		}
		systable_endscan(scan);
	}
	table_close(pg_trigger, AccessShareLock);
	return relation;
}

TriggerDesc *
mirror_triggers(Relation rel)
{
	return rel->trigdesc ? CopyTriggerDesc(rel->trigdesc) : palloc0(sizeof(TriggerDesc));
}

void
mirror_check_key(const Mirror *mirror, const char *key)
{
	Datum		values[INDEX_MAX_KEYS];
	UserState	guard;

	user_switch(&guard, mirror->owner);
	key_from_text(mirror->key, key, values);
	user_restore(&guard);
}

/* The arguments of the row trigger that mirrors into the collection, copied; NULL if there is none. */
static char **
find_arguments(Relation rel, const char *collection, int *nargs)
{
	Oid			function = mirror_function();
	TriggerDesc *triggers = rel->trigdesc;
	char	  **args;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (trigger->tgfoid != function || !TRIGGER_FOR_ROW(trigger->tgtype) ||
			trigger->tgnargs == 0 || strcmp(trigger->tgargs[0], collection) != 0)
			continue;
		*nargs = trigger->tgnargs;
		args = palloc(sizeof(char *) * *nargs);
		for (int arg = 0; arg < *nargs; arg++)
			args[arg] = pstrdup(trigger->tgargs[arg]);
		return args;
	}
	return NULL;
}

Mirror *
mirror_find(Oid relation, const char *collection, MemoryContext parent)
{
	Relation	rel = try_relation_open(relation, NoLock);
	Mirror	   *mirror = NULL;
	char	  **args;
	int			nargs;

	if (rel == NULL)
		return NULL;
	args = find_arguments(rel, collection, &nargs);
	if (args)
		mirror = mirror_compile(rel, nargs, args, parent, false);
	relation_close(rel, NoLock);
	return mirror;
}

/*
 * Statements on the user's table.  No name in them is looked up by search
 * path, and keys are arrays of the columns' own types.
 */

static const char *
qualified_operator(Oid operator)
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

/* [ONLY] schema.table: rows of a table's inheritance children are not its own. */
static void
append_table(StringInfo sql, const Mirror *mirror)
{
	if (get_rel_relkind(mirror->relation) != RELKIND_PARTITIONED_TABLE)
		appendStringInfoString(sql, "ONLY ");
	appendStringInfoString(sql,
						   quote_qualified_identifier(get_namespace_name(get_rel_namespace(mirror->relation)),
													  get_rel_name(mirror->relation)));
}

static void
append_key_columns(StringInfo sql, const Mirror *mirror)
{
	for (int i = 0; i < mirror->key->ncolumns; i++)
		appendStringInfo(sql, "%st.%s", i ? ", " : "",
						 quote_identifier(mirror->key->columns[i].name));
}

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
 * Are keys looked up one by one?  There is no array of arrays, and an array of a composite
 * type becomes several columns.
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

/* t.k = ANY ($1), or for several columns a join with the unnested arrays; or t.k = $1 AND … */
static void
append_read_source(StringInfo sql, const Mirror *mirror)
{
	const Key  *key = mirror->key;

	appendStringInfoString(sql, " FROM ");
	append_table(sql, mirror);
	appendStringInfoString(sql, " t");
	if (reads_one_by_one(key))
	{
		for (int i = 0; i < key->ncolumns; i++)
			appendStringInfo(sql, " %s t.%s %s $%d", i ? "AND" : "WHERE",
							 quote_identifier(key->columns[i].name),
							 qualified_operator(key->columns[i].equals), i + 1);
		return;
	}
	if (key->ncolumns == 1)
	{
		appendStringInfo(sql, " WHERE t.%s %s ANY ($1)", quote_identifier(key->columns[0].name),
						 qualified_operator(key->columns[0].equals));
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
		appendStringInfo(sql, "%st.%s %s k.c%d", i ? " AND " : "",
						 quote_identifier(key->columns[i].name),
						 qualified_operator(key->columns[i].equals), i);
}

/*
 * A name can be taken over by another table between two looks at the catalog.  So
 * whenever a statement of ours is analyzed, be it again, it must come out on the table
 * that is meant: by its oid, which nobody takes over.
 */
static struct
{
	const char *sql;			/* of the statement that is prepared or run;
								 * NULL: none is */
	Oid			relation;
}			bound;

static bool
find_other_table(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, find_other_table, context, QTW_EXAMINE_RTES_BEFORE);
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *entry = (RangeTblEntry *) node;

		return entry->rtekind == RTE_RELATION && entry->relid != bound.relation;
	}
	return expression_tree_walker(node, find_other_table, context);
}

static post_parse_analyze_hook_type prev_post_parse_analyze = NULL;

static void
on_post_parse_analyze(ParseState *pstate, Query *query, CompatJumbleState * jstate)
{
	if (prev_post_parse_analyze)
		prev_post_parse_analyze(pstate, query, jstate);
	if (bound.sql && pstate->p_sourcetext && strcmp(pstate->p_sourcetext, bound.sql) == 0 &&
		find_other_table((Node *) query, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the name of the mirrored table is another table's by now")));
}

void
mirror_init(void)
{
	prev_post_parse_analyze = post_parse_analyze_hook;
	post_parse_analyze_hook = on_post_parse_analyze;
}

/* Runs a statement of ours, planned for this once, on the mirror's table and no other. */
static void
run_bound(const Mirror *mirror, const char *sql, const SPIExecuteOptions *options)
{
	const char *outer_sql = bound.sql;
	Oid			outer_relation = bound.relation;
	int			rc = 0;

	bound.sql = sql;
	bound.relation = mirror->relation;
	PG_TRY();
	{
		rc = SPI_execute_extended(sql, options);
	}
	PG_FINALLY();
	{
		bound.sql = outer_sql;
		bound.relation = outer_relation;
	}
	PG_END_TRY();
	if (rc < 0)
		elog(ERROR, "SPI_execute_extended failed: %s", SPI_result_code_string(rc));
}

static void
read_types(const Key *key, Oid *types)
{
	bool		one_by_one = reads_one_by_one(key);

	for (int i = 0; i < key->ncolumns; i++)
		types[i] = one_by_one ? key->columns[i].type : get_array_type(key->columns[i].type);
}

static char *
read_statement(const Mirror *mirror)
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

/* Hands each row of the running statement to the caller's function. */
typedef struct RowReceiver
{
	DestReceiver pub;
	const Mirror *mirror;
	MirrorRowFunction function;
	void	   *arg;
	MemoryContext row_context;
} RowReceiver;

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
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

void
mirror_raise_changed(const Mirror *mirror)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table %u has changed since its mirror was compiled", mirror->relation)));
}

/* A value that is taken for one of another type is any memory that somebody wants to see. */
static void
check_type(const Mirror *mirror, TupleDesc desc, int i, Oid type)
{
	if (i >= desc->natts || getBaseType(TupleDescAttr(desc, i)->atttypid) != type)
		mirror_raise_changed(mirror);
}

static void
check_key_types(const Mirror *mirror, TupleDesc desc)
{
	for (int i = 0; i < mirror->key->ncolumns; i++)
		check_type(mirror, desc, i, mirror->key->columns[i].type);
}

static void
receiver_startup(DestReceiver *self, int operation, TupleDesc desc)
{
	const Mirror *mirror = ((RowReceiver *) self)->mirror;
	ListCell   *lc;

	check_key_types(mirror, desc);
	foreach(lc, mirror->template->columns)
	{
		const TemplateColumn *column = lfirst(lc);

		check_type(mirror, desc, mirror->key->ncolumns + foreach_current_index(lc),
				   column->form == COLUMN_JSON ? TEXTOID : column->type);
	}
}

static void
receiver_shutdown(DestReceiver *self)
{
}

static Datum *
key_arrays(const Key *key, char *const *keys, int nkeys)
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
	run_bound(mirror, sql, &options);
}

void
mirror_read_rows(Mirror *mirror, char *const *keys, int nkeys,
				 MirrorRowFunction function, void *arg)
{
	RowReceiver receiver = {0};
	Oid			types[INDEX_MAX_KEYS];
	Datum		values[INDEX_MAX_KEYS];
	UserState	guard;
	bool		one_by_one = reads_one_by_one(mirror->key);
	char	   *sql;

	receiver.pub.receiveSlot = receive_row;
	receiver.pub.rStartup = receiver_startup;
	receiver.pub.rShutdown = receiver_shutdown;
	receiver.pub.rDestroy = receiver_shutdown;
	receiver.pub.mydest = DestNone;
	receiver.mirror = mirror;
	receiver.function = function;
	receiver.arg = arg;
	receiver.row_context = AllocSetContextCreate(CurrentMemoryContext, "mixpeek row",
												 ALLOCSET_DEFAULT_SIZES);
	read_types(mirror->key, types);

	user_switch(&guard, mirror->owner);
	SPI_connect();
	PushActiveSnapshot(GetLatestSnapshot());	/* for the functions of a
												 * key's type, too */
	sql = read_statement(mirror);
	if (!one_by_one)
		execute_read(mirror, sql, key_arrays(mirror->key, keys, nkeys), types, &receiver.pub);
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
 * Walking the table in key order
 */

static void
append_row_of(StringInfo sql, const Mirror *mirror, bool params)
{
	appendStringInfoString(sql, "ROW(");
	for (int i = 0; i < mirror->key->ncolumns; i++)
	{
		if (params)
			appendStringInfo(sql, "%s$%d", i ? ", " : "", i + 1);
		else
			appendStringInfo(sql, "%st.%s", i ? ", " : "",
							 quote_identifier(mirror->key->columns[i].name));
	}
	appendStringInfoChar(sql, ')');
}

/* after: whether there is a key to continue behind. */
static char *
scan_statement(const Mirror *mirror, bool after)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	append_key_columns(&sql, mirror);
	appendStringInfoString(&sql, " FROM ");
	append_table(&sql, mirror);
	appendStringInfoString(&sql, " t");
	if (after)
	{
		appendStringInfoString(&sql, " WHERE ");
		append_row_of(&sql, mirror, false);
		appendStringInfo(&sql, " %s ", qualified_operator(mirror->key->columns[0].greater));
		append_row_of(&sql, mirror, true);
	}
	appendStringInfoString(&sql, " ORDER BY ");
	append_key_columns(&sql, mirror);
	appendStringInfo(&sql, " LIMIT $%d", after ? mirror->key->ncolumns + 1 : 1);
	return sql.data;
}

List *
mirror_scan_keys(Mirror *mirror, const char *after, int limit)
{
	MemoryContext result = CurrentMemoryContext;
	SPIExecuteOptions options = {.read_only = true};
	Datum		values[INDEX_MAX_KEYS + 1];
	Oid			types[INDEX_MAX_KEYS + 1];
	int			n = after ? mirror->key->ncolumns : 0;
	List	   *keys = NIL;
	UserState	guard;

	user_switch(&guard, mirror->owner);
	SPI_connect();
	PushActiveSnapshot(GetLatestSnapshot());
	if (after)
		key_from_text(mirror->key, after, values);
	for (int i = 0; i < n; i++)
		types[i] = mirror->key->columns[i].type;
	values[n] = Int64GetDatum(limit);
	types[n] = INT8OID;
	options.params = make_params(n + 1, values, types);
	run_bound(mirror, scan_statement(mirror, after != NULL), &options);
	check_key_types(mirror, SPI_tuptable->tupdesc);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		MemoryContext old = MemoryContextSwitchTo(result);
		bool		isnull;

		for (int i = 0; i < mirror->key->ncolumns; i++)
			values[i] = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, i + 1, &isnull);
		keys = lappend(keys, key_to_text(mirror->key, values));
		MemoryContextSwitchTo(old);
	}
	PopActiveSnapshot();
	SPI_finish();
	user_restore(&guard);
	return keys;
}

/*
 * Writing back
 */

/*
 * The columns that are written, joined: "doc_id = $1, data = …" and the like.
 * Enrichments that have not come yet do not take away what is there.
 */
static void
append_write_back(StringInfo sql, const Mirror *mirror, const char *prefix,
				  const char *operator, const char *separator)
{
	const MirrorArguments *arguments = &mirror->arguments;

	if (arguments->document_id_column)
		appendStringInfo(sql, "%s%s %s $1", prefix,
						 quote_identifier(arguments->document_id_column), operator);
	if (arguments->document_id_column && arguments->enrichments_column)
		appendStringInfoString(sql, separator);
	if (arguments->enrichments_column)
		appendStringInfo(sql, "%s%s %s COALESCE($2, t.%s)", prefix,
						 quote_identifier(arguments->enrichments_column), operator,
						 quote_identifier(arguments->enrichments_column));
}

/* FROM the table WHERE it is the row with the key in $3…, and not up to date. */
static void
append_stale_row(StringInfo sql, const Mirror *mirror)
{
	const Key  *key = mirror->key;

	appendStringInfoString(sql, " FROM ");
	append_table(sql, mirror);
	appendStringInfoString(sql, " t WHERE ");
	for (int i = 0; i < key->ncolumns; i++)
		appendStringInfo(sql, "t.%s %s $%d AND ", quote_identifier(key->columns[i].name),
						 qualified_operator(key->columns[i].equals), i + 3);
	appendStringInfoChar(sql, '(');
	append_write_back(sql, mirror, "t.", "IS DISTINCT FROM", " OR ");
	appendStringInfoChar(sql, ')');
}

/*
 * A row that somebody has locked is left alone, for the agent must not wait
 * for a user's transaction; the answers are whether all was done, and whether the
 * row that we had locked was left as it was.
 */
static char *
write_back_statement(const Mirror *mirror)
{
	const Key  *key = mirror->key;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "WITH l AS (SELECT t.ctid AS tid");
	append_stale_row(&sql, mirror);
	appendStringInfoString(&sql, " FOR NO KEY UPDATE SKIP LOCKED), u AS (UPDATE ");
	append_table(&sql, mirror);
	appendStringInfoString(&sql, " t SET ");
	append_write_back(&sql, mirror, "", "=", ", ");
	appendStringInfoString(&sql, " WHERE t.ctid IN (SELECT tid FROM l)");
	for (int i = 0; i < key->ncolumns; i++)
		appendStringInfo(&sql, " AND t.%s %s $%d", quote_identifier(key->columns[i].name),
						 qualified_operator(key->columns[i].equals), i + 3);
	appendStringInfoString(&sql, " RETURNING 1) SELECT (SELECT count(*) FROM u) = (SELECT count(*)");
	append_stale_row(&sql, mirror);
	appendStringInfoString(&sql, "), (SELECT count(*) FROM u) < (SELECT count(*)");
	append_stale_row(&sql, mirror);
	appendStringInfoString(&sql, " AND t.ctid IN (SELECT tid FROM l))");
	return sql.data;
}

bool
mirror_is_written_back(Oid relation, const char *key)
{
	return written_back.key && written_back.relation == relation &&
		strcmp(written_back.key, key) == 0;
}

static void
execute_write_back(Mirror *mirror, const char *key, ParamListInfo params)
{
	SPIExecuteOptions options = {.params = params};

	written_back.relation = mirror->relation;
	written_back.key = key;
	PG_TRY();
	{
		run_bound(mirror, write_back_statement(mirror), &options);
	}
	PG_FINALLY();
	{
		written_back.key = NULL;
	}
	PG_END_TRY();
}

bool
mirror_write_back(Mirror *mirror, const char *key,
				  const char *document_id, Jsonb *enrichments)
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
	execute_write_back(mirror, key, params);
	PopActiveSnapshot();
	if (SPI_processed != 1)
		elog(ERROR, "a write-back gave %llu rows", (unsigned long long) SPI_processed);
	done = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	if (DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull)))
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("a trigger of the table has left the row as it was")));
	SPI_finish();
	user_restore(&guard);
	return done;
}
