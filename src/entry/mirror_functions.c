/*-------------------------------------------------------------------------
 *
 * mirror_functions.c
 *		SQL functions that make, describe and end mirrors.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "base/bounds.h"
#include "base/extension.h"
#include "base/guard.h"
#include "base/statement.h"
#include "base/user.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "entry/ddl.h"
#include "funcapi.h"
#include "mirror/definition.h"
#include "mirror/mirror.h"
#include "miscadmin.h"
#include "remote/marker.h"
#include "remote/server.h"
#include "state/aside.h"
#include "state/mirror_records.h"
#include "state/origin.h"
#include "state/outbox.h"
#include "state/outbox_buffer.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(mixpeek_mirror);
PG_FUNCTION_INFO_V1(mixpeek_unmirror);
PG_FUNCTION_INFO_V1(mixpeek_retry);
PG_FUNCTION_INFO_V1(mixpeek_refresh);
PG_FUNCTION_INFO_V1(mixpeek_preview);
PG_FUNCTION_INFO_V1(mixpeek_mirror_arguments);

static void
run_utility(const char *sql)
{
	int			rc;

	SPI_connect();
	rc = SPI_execute(sql, false, 0);
	if (rc < 0)
		elog(ERROR, "SPI_execute failed: %s", SPI_result_code_string(rc));
	SPI_finish();
}

static char *
qualified_name(Relation rel)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
									  RelationGetRelationName(rel));
}

static bool
mirrors_into(const Trigger *trigger, Oid function, const char *collection)
{
	return trigger->tgfoid == function && trigger->tgnargs > 0 &&
		(collection == NULL || strcmp(trigger->tgargs[0], collection) == 0);
}

static void
check_argument(FunctionCallInfo fcinfo, int i, const char *name)
{
	if (PG_ARGISNULL(i))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}

/* Returns a text argument, or NULL if it is null. */
static char *
text_argument(FunctionCallInfo fcinfo, int i, const char *name, int max_length)
{
	text	   *value;

	if (PG_ARGISNULL(i))
		return NULL;
	value = PG_GETARG_TEXT_PP(i);
	if (VARSIZE_ANY_EXHDR(value) > max_length)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s has %d bytes, more than %d", name, (int) VARSIZE_ANY_EXHDR(value), max_length)));
	return text_to_cstring(value);
}

static char *
collection_argument(FunctionCallInfo fcinfo, int i)
{
	return text_argument(fcinfo, i, "collection", MAX_COLLECTION);
}

/*
 * mirror()
 */

/* The name of the collection's row or truncate trigger, or NULL. */
static char *
existing_name(Relation rel, const char *collection, bool for_row)
{
	Oid			function = mirror_function();
	TriggerDesc *triggers = mirror_triggers(rel);

	for (int i = 0; i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (mirrors_into(trigger, function, collection) &&
			(bool) TRIGGER_FOR_ROW(trigger->tgtype) == for_row)
			return trigger->tgname;
	}
	return NULL;
}

static bool
name_is_taken(Relation rel, const char *name)
{
	TriggerDesc *triggers = mirror_triggers(rel);

	for (int i = 0; i < triggers->numtriggers; i++)
	{
		if (strcmp(triggers->triggers[i].tgname, name) == 0)
			return true;
	}
	return false;
}

/* first_second, cut to an identifier's length, and numbered if another trigger has that name. */
static char *
free_name(Relation rel, const char *first, const char *second)
{
	char	   *name = makeObjectName(first, second, NULL);

	for (int i = 2; name_is_taken(rel, name); i++)
		name = makeObjectName(first, second, psprintf("%d", i));
	return name;
}

static char *
row_trigger_name(Relation rel, const char *collection)
{
	char	   *name = existing_name(rel, collection, true);

	if (name)
		return name;
	return name_is_taken(rel, "mixpeek") ? free_name(rel, "mixpeek", collection) : "mixpeek";
}

static char *
truncate_trigger_name(Relation rel, const char *collection, const char *row_trigger)
{
	char	   *name = existing_name(rel, collection, false);

	return name ? name : free_name(rel, row_trigger, "truncate");
}

/* The trigger's arguments as the function got them: at most six. */
static int
make_arguments(FunctionCallInfo fcinfo, char **args)
{
	int			n = 0;

	args[n++] = collection_argument(fcinfo, 1);
	if (!PG_ARGISNULL(2))
	{
		Jsonb	   *document = PG_GETARG_JSONB_P(2);

		args[n++] = psprintf("document=%s",
							 JsonbToCString(NULL, &document->root, VARSIZE(document)));
	}
	if (!PG_ARGISNULL(3) && strcmp(NameStr(*PG_GETARG_NAME(3)), "mixpeek") != 0)
		args[n++] = psprintf("server=%s", NameStr(*PG_GETARG_NAME(3)));
	if (!PG_ARGISNULL(5))
		args[n++] = psprintf("document_id_column=%s", NameStr(*PG_GETARG_NAME(5)));
	if (!PG_ARGISNULL(6))
		args[n++] = psprintf("enrichments_column=%s", NameStr(*PG_GETARG_NAME(6)));
	return n;
}

/* By the name that the extension's schema has now: another one's function is not to be called. */
static const char *
function_name(void)
{
	Oid			function = mirror_function();

	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("extension \"%s\" has no function \"mirror_row\"", EXTENSION_NAME)));
	return quote_qualified_identifier(get_namespace_name(get_func_namespace(function)),
									  get_func_name(function));
}

static void
create_trigger(const char *name, Relation rel, const char *event, int nargs, char **args)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE OR REPLACE TRIGGER %s AFTER %s ON %s FOR EACH %s EXECUTE FUNCTION %s(",
					 quote_identifier(name), event, qualified_name(rel),
					 strcmp(event, "TRUNCATE") == 0 ? "STATEMENT" : "ROW", function_name());
	for (int i = 0; i < nargs; i++)
		appendStringInfo(&sql, "%s%s", i ? ", " : "", quote_literal_cstr(args[i]));
	appendStringInfoChar(&sql, ')');
	run_utility(sql.data);
}

/*
 * mirror(relation regclass, collection text, document jsonb, server name,
 * backfill boolean, document_id_column name, enrichments_column name): creates
 * or replaces the triggers that mirror the table, and marks all rows.  Raises
 * what CREATE TRIGGER raises, the template's mistakes (see template.h) and the
 * server's (see server.h).
 */
Datum
mixpeek_mirror(PG_FUNCTION_ARGS)
{
	Relation	rel;
	char	   *args[6];
	int			nargs;
	char	   *name;
	char	   *truncate_name;
	Oid			relation;
	Mirror	   *mirror;

	check_argument(fcinfo, 0, "relation");
	check_argument(fcinfo, 1, "collection");
	relation = PG_GETARG_OID(0);
	ddl_check_owner(relation);
	rel = relation_open(relation, ShareRowExclusiveLock);
	nargs = make_arguments(fcinfo, args);
	mirror = mirror_compile(rel, nargs, args, CurrentMemoryContext, true);
	(void) mixpeek_server_get(mirror->arguments.server, mirror->owner);
	name = row_trigger_name(rel, args[0]);
	truncate_name = truncate_trigger_name(rel, args[0], name);

	create_trigger(name, rel, "INSERT OR UPDATE OR DELETE", nargs, args);
	create_trigger(truncate_name, rel, "TRUNCATE", 1, args);
	if (existing_name(rel, args[0], true) == NULL)
		elog(ERROR, "the trigger on \"%s\" is another one than was created", RelationGetRelationName(rel));
	if (rel->rd_rel->relforcerowsecurity)
		ereport(NOTICE,
				(errmsg("row-level security is forced on \"%s\"", RelationGetRelationName(rel)),
				 errdetail("The mirror reads as the table's owner: only the rows which the policies show to the owner are mirrored.")));
	if (PG_ARGISNULL(4) || PG_GETARG_BOOL(4))
	{
		outbox_add(relation, OUTBOX_ALL_STORED, args[0], NULL);
		outbox_add(relation, OUTBOX_ALL_ROWS, args[0], NULL);
	}
	relation_close(rel, NoLock);
	PG_RETURN_VOID();
}

/*
 * unmirror()
 */

/* Drops the triggers of a collection, or all; returns the row triggers' collections. */
static List *
drop_triggers(Relation rel, const char *collection)
{
	Oid			function = mirror_function();
	TriggerDesc *triggers = mirror_triggers(rel);
	List	   *collections = NIL;
	List	   *names = NIL;
	ListCell   *lc;

	for (int i = 0; i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (!mirrors_into(trigger, function, collection))
			continue;
		names = lappend(names, trigger->tgname);
		if (TRIGGER_FOR_ROW(trigger->tgtype))
			collections = lappend(collections, trigger->tgargs[0]);
	}
	foreach(lc, names)
		run_utility(psprintf("DROP TRIGGER %s ON %s", quote_identifier(lfirst(lc)),
							 qualified_name(rel)));
	return collections;
}

/*
 * unmirror(relation regclass, collection text, delete_documents boolean): drops
 * the mirror's triggers; what is known of its documents goes with them, or is
 * kept until the worker has deleted the documents.  Raises
 * ERRCODE_UNDEFINED_OBJECT if there is no such mirror, and what DROP TRIGGER
 * raises.
 */
Datum
mixpeek_unmirror(PG_FUNCTION_ARGS)
{
	bool		delete_documents = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	char	   *collection = collection_argument(fcinfo, 1);
	List	   *collections;
	ListCell   *lc;
	Relation	rel;

	check_argument(fcinfo, 0, "relation");
	ddl_check_owner(PG_GETARG_OID(0));
	rel = table_open(PG_GETARG_OID(0), AccessExclusiveLock);
	ddl_keep_documents(delete_documents);
	PG_TRY();
	{
		collections = drop_triggers(rel, collection);
	}
	PG_FINALLY();
	{
		ddl_keep_documents(false);
	}
	PG_END_TRY();
	if (collections == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table \"%s\" is not mirrored%s%s", RelationGetRelationName(rel),
						collection ? " into collection " : "", collection ? collection : ""),
				 errhint("See the view mixpeek.mirrors.")));
	foreach(lc, collections)
	{
		if (delete_documents)
			outbox_add(RelationGetRelid(rel), OUTBOX_ALL_STORED, lfirst(lc), NULL);
	}
	table_close(rel, NoLock);
	PG_RETURN_VOID();
}

/*
 * retry(), refresh()
 */

static List *
owned_relations(void)
{
	static Statement query = {
		"SELECT c.oid FROM pg_catalog.pg_class c WHERE pg_catalog.pg_has_role($1, c.relowner, 'USAGE') AND c.oid IN ("
		" SELECT relation::oid FROM mixpeek.documents WHERE state = 'failed'"
		" UNION SELECT relation::oid FROM mixpeek.set_aside)",
		1, {OIDOID}
	};
	Datum		args[1];
	UserState	guard;
	List	   *relations;

	args[0] = ObjectIdGetDatum(GetUserId());
	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	statement_run(&query, args, NULL);
	relations = statement_oids();
	statement_end();
	user_restore(&guard);
	return relations;
}


static int64
retry_relation(Oid relation, const char *collection, const char *error)
{
	UserState	guard;
	int64		n;

	ddl_check_owner(relation);
	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	aside_lift(relation);
	n = mirror_records_retry(relation, collection, error);
	user_restore(&guard);
	return n;
}

/*
 * retry(relation regclass, collection text, error text): failed documents are
 * looked at again; returns how many.  Raises ERRCODE_INSUFFICIENT_PRIVILEGE unless
 * the caller owns the table.
 */
Datum
mixpeek_retry(PG_FUNCTION_ARGS)
{
	char	   *collection = collection_argument(fcinfo, 1);
	char	   *error = text_argument(fcinfo, 2, "error", MAX_ARGUMENT);
	int64		n = 0;
	ListCell   *lc;

	if (!PG_ARGISNULL(0))
		PG_RETURN_INT64(retry_relation(PG_GETARG_OID(0), collection, error));
	foreach(lc, owned_relations())
		n += retry_relation(lfirst_oid(lc), collection, error);
	PG_RETURN_INT64(n);
}

/*
 * refresh(relation regclass, collection text): the API is asked again for the
 * enrichments of mirrored documents; returns how many.  Raises as retry().
 */
Datum
mixpeek_refresh(PG_FUNCTION_ARGS)
{
	UserState	guard;
	int64		n;

	check_argument(fcinfo, 0, "relation");
	ddl_check_owner(PG_GETARG_OID(0));
	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	n = mirror_records_refresh(PG_GETARG_OID(0), collection_argument(fcinfo, 1));
	user_restore(&guard);
	PG_RETURN_INT64(n);
}

/*
 * preview()
 */

typedef struct PreviewCall
{
	Mirror	   *mirror;
	char	   *key;
	MemoryContext context;
	Jsonb	   *document;
} PreviewCall;

static void
preview_row(void *arg, const char *key, const TemplateRow *row)
{
	PreviewCall *call = arg;
	const Template *template = call->mirror->template;
	StringInfoData content;
	StringInfoData features;
	StringInfoData body;
	MemoryContext old;

	if (strcmp(key, call->key) != 0)
		return;
	initStringInfo(&content);
	initStringInfo(&features);
	template_render(template, row, &content, &features);
	initStringInfo(&body);
	appendStringInfoString(&body, "{\"collection_id\":");
	escape_json(&body, call->mirror->arguments.collection);
	appendStringInfoString(&body, content.data);
	if (template->has_features)
		appendStringInfo(&body, ",\"features\":%s", features.data);
	appendStringInfoChar(&body, '}');
	old = MemoryContextSwitchTo(call->context);
	call->document = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(body.data)));
	MemoryContextSwitchTo(old);
}

/* The table's only mirror, or the collection's. */
static Mirror *
get_mirror(Relation rel, const char *collection)
{
	Oid			function = mirror_function();
	TriggerDesc *triggers = mirror_triggers(rel);

	for (int i = 0; i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (mirrors_into(trigger, function, collection) && TRIGGER_FOR_ROW(trigger->tgtype))
			return mirror_compile(rel, trigger->tgnargs, trigger->tgargs, CurrentMemoryContext, true);
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("table \"%s\" is not mirrored", RelationGetRelationName(rel)),
			 errhint("See the view mixpeek.mirrors.")));
}

/*
 * preview(relation regclass, key text, collection text): the body that a create
 * for the row would have, or NULL if there is no such row.  Raises
 * ERRCODE_INSUFFICIENT_PRIVILEGE unless the caller owns the table, and why the row
 * cannot be rendered.
 */
Datum
mixpeek_preview(PG_FUNCTION_ARGS)
{
	PreviewCall call = {NULL, NULL, CurrentMemoryContext, NULL};
	Relation	rel;
	UserState	guard;

	check_argument(fcinfo, 0, "relation");
	check_argument(fcinfo, 1, "key");
	ddl_check_owner(PG_GETARG_OID(0));
	rel = table_open(PG_GETARG_OID(0), AccessShareLock);
	call.mirror = get_mirror(rel, collection_argument(fcinfo, 2));
	call.key = text_argument(fcinfo, 1, "key", MAX_ARGUMENT);
	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	call.mirror->marker_prefix = marker_prefix(origin_id(), call.mirror->table);
	user_restore(&guard);
	mirror_read_rows(call.mirror, &call.key, 1, preview_row, &call);
	mirror_free(call.mirror);
	table_close(rel, NoLock);
	if (call.document == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(call.document);
}

/*
 * mirror_arguments(), behind the view mixpeek.mirrors
 */

typedef struct DescribeCall
{
	Oid			trigger;
	bool		found;
	MirrorArguments arguments;
	Mirror	   *mirror;			/* NULL: the table is locked, or gone */
	Jsonb	   *document;
} DescribeCall;

/* The arguments are shown whatever else cannot be found out. */
static void
describe(void *arg)
{
	DescribeCall *call = arg;
	Definition *definition = definition_read(call->trigger, NULL);
	MirrorArguments arguments = {0};
	Relation	rel;

	if (definition == NULL || definition->function != mirror_function())
		return;
	call->found = true;
	arguments_default(&call->arguments, definition->nargs, definition->args);
	arguments_decode(&arguments, definition->nargs, definition->args);
	call->arguments = arguments;
	if (!ConditionalLockRelationOid(definition->relation, AccessShareLock))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("the table is locked")));
	rel = table_open(definition->relation, NoLock);
	call->mirror = mirror_compile(rel, definition->nargs, definition->args, CurrentMemoryContext, false);
	table_close(rel, AccessShareLock);
}

static void
parse_document(void *arg)
{
	DescribeCall *call = arg;

	call->document = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
														CStringGetDatum(call->arguments.document)));
}

static void
set_text(Datum *values, bool *nulls, int i, const char *text, bool as_name)
{
	nulls[i] = text == NULL;
	if (text)
		values[i] = as_name ? DirectFunctionCall1(namein, CStringGetDatum(text)) :
			CStringGetTextDatum(text);
}

/* Why the worker leaves the table alone: its owner may know. */
static char *
set_aside(Oid relation)
{
	UserState	guard;
	char	   *problem;

	if (!COMPAT_OWNS_TABLE(relation, GetUserId()))
		return NULL;
	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	problem = aside_problem(relation);
	user_restore(&guard);
	return problem;
}

/*
 * mirror_arguments(trigger oid): the decoded arguments of a mirror's trigger,
 * and what is wrong with them.
 */
Datum
mixpeek_mirror_arguments(PG_FUNCTION_ARGS)
{
	DescribeCall call = {PG_GETARG_OID(0)};
	Datum		values[7] = {0};
	bool		nulls[7] = {true, true, true, true, true, true, true};
	TupleDesc	desc;
	char	   *problem = guard_call(describe, &call);

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (call.found)
	{
		MirrorArguments *arguments = &call.arguments;

		if (arguments->document && guard_call(parse_document, &call) == NULL)
		{
			nulls[2] = false;
			values[2] = JsonbPGetDatum(call.document);
		}
		set_text(values, nulls, 0, arguments->collection, false);
		set_text(values, nulls, 1, arguments->server, true);
		set_text(values, nulls, 3, arguments->document_id_column, true);
		set_text(values, nulls, 4, arguments->enrichments_column, true);
	}
	if (call.mirror)
	{
		set_text(values, nulls, 5, call.mirror->table, false);
		problem = call.mirror->problem ? call.mirror->problem : set_aside(call.mirror->relation);
	}
	set_text(values, nulls, 6, problem, false);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
