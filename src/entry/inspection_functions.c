/*-------------------------------------------------------------------------
 *
 * inspection_functions.c
 *		SQL functions that show what a mirror is, and what it sends.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/bounds.h"
#include "base/guard.h"
#include "base/user.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "entry/function_arguments.h"
#include "funcapi.h"
#include "mirror/filter.h"
#include "mirror/mirror.h"
#include "mirror/source_table.h"
#include "mirror/trigger_definition.h"
#include "miscadmin.h"
#include "remote/marker.h"
#include "remote/server.h"
#include "state/aside.h"
#include "state/key_table.h"
#include "state/origin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(mixpeek_preview);
PG_FUNCTION_INFO_V1(mixpeek_mirror_arguments);

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

/* Make the body of a create request from a row, whose key may be written otherwise than it was asked for. */
static void
preview_row(void *arg, const char *key, const TemplateRow *row)
{
	PreviewCall *call = arg;
	const Template *template = call->mirror->template;
	StringInfoData content;
	StringInfoData features;
	StringInfoData body;
	MemoryContext old;

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

/*
 * Compile the table's mirror into the collection (NULL: its first mirror).  Raises
 * ERRCODE_UNDEFINED_OBJECT if there is none.
 */
static Mirror *
compile_mirror_into(Relation rel, const char *collection)
{
	Oid			function = mirror_function();
	TriggerDesc *triggers = mirror_triggers(rel);

	for (int i = 0; i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (mirror_is_trigger_into(trigger, function, collection) && TRIGGER_FOR_ROW(trigger->tgtype))
			return mirror_compile(rel, trigger->tgnargs, trigger->tgargs, trigger->tgqual,
								  CurrentMemoryContext, MIRROR_RAISE_ALL);
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("table \"%s\" is not mirrored", RelationGetRelationName(rel)),
			 errhint("See the view mixpeek.mirrors.")));
}

/*
 * preview(relation regclass, key text, collection text): return the body of the request
 * that would create the row's document, or NULL if there is no such row.  Raises
 * ERRCODE_INSUFFICIENT_PRIVILEGE unless the caller owns the table, and the reason if the
 * row cannot be rendered.
 */
Datum
mixpeek_preview(PG_FUNCTION_ARGS)
{
	PreviewCall call = {NULL, NULL, CurrentMemoryContext, NULL};
	Relation	rel;
	UserState	guard;

	function_argument_check(fcinfo, 0, "relation");
	function_argument_check(fcinfo, 1, "key");
	mirror_check_owner(PG_GETARG_OID(0));
	rel = table_open(PG_GETARG_OID(0), AccessShareLock);
	call.mirror = compile_mirror_into(rel, function_argument_collection(fcinfo, 2));
	call.key = function_argument_text(fcinfo, 1, "key", MAX_ARGUMENT);
	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	call.mirror->marker_prefix = marker_prefix(origin_id(), call.mirror->table);
	user_restore(&guard);
	source_table_read_rows(call.mirror, &call.key, 1, preview_row, &call);
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
	Mirror	   *mirror;			/* NULL if the table is locked or dropped */
	Jsonb	   *document;
} DescribeCall;

/* Read a trigger's arguments, then compile its mirror.  If that fails, the arguments are shown all the same. */
static void
describe_trigger(void *arg)
{
	DescribeCall *call = arg;
	TriggerDefinition *definition = trigger_definition_read(call->trigger, NULL);
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
	call->mirror = mirror_compile(rel, definition->nargs, definition->args, definition->when,
								  CurrentMemoryContext, MIRROR_RAISE_NOTHING);
	if (call->mirror->problem == NULL && arguments.filter)
		(void) filter_check(rel, arguments.filter);
	table_close(rel, AccessShareLock);
}

static void
parse_document(void *arg)
{
	DescribeCall *call = arg;

	call->document = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
														CStringGetDatum(call->arguments.document)));
}

/* Set a column of the result, of type name or text; NULL stands for null. */
static void
set_text_column(Datum *values, bool *nulls, int i, const char *text, bool as_name)
{
	nulls[i] = text == NULL;
	if (text)
		values[i] = as_name ? DirectFunctionCall1(namein, CStringGetDatum(text)) :
			CStringGetTextDatum(text);
}

/* Raise an error if the mirror at arg has no server, or its owner no API key for it. */
static void
check_server(void *arg)
{
	const Mirror *mirror = arg;

	(void) mixpeek_server_get(mirror->arguments.server, mirror->owner);
}

/*
 * Return why the worker has set the table aside, or cannot list its rows, or why there is no server; NULL if there
 * is no such problem, or the current user is not the owner.
 */
static char *
read_owners_problem(Mirror *mirror)
{
	UserState	guard;
	char	   *problem;

	if (!COMPAT_OWNS_TABLE(mirror->relation, GetUserId()))
		return NULL;
	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	problem = aside_problem(mirror->relation);
	if (problem == NULL)
		problem = key_table_problem(mirror->relation, mirror->arguments.collection);
	user_restore(&guard);
	return problem ? problem : guard_call(check_server, mirror);
}

/* Check the origin; arg is a char **, for the problem. */
static void
check_origin(void *arg)
{
	UserState	guard;
	Origin		origin;

	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	*(char **) arg = origin_problem(&origin);
	user_restore(&guard);
}

/*
 * Return why nothing is mirrored from this database; NULL if it is the one of its origin.  It is asked
 * once a statement: the view calls this for each mirror.
 */
static char *
read_origin_problem(void)
{
	static TimestampTz asked_at = 0;
	static char *text = NULL;
	char	   *problem = NULL;
	char	   *error;

	if (asked_at == GetCurrentStatementStartTimestamp())
		return text;
	error = guard_call(check_origin, &problem);
	if (text)
		pfree(text);
	text = NULL;
	if (error || problem)
		text = MemoryContextStrdup(TopMemoryContext, error ? error : psprintf("nothing is mirrored: %s", problem));
	asked_at = GetCurrentStatementStartTimestamp();
	return text;
}

/*
 * mirror_arguments(trigger oid): return the decoded arguments of a mirror's trigger,
 * and why the mirror does not work, or NULL.  The view mixpeek.mirrors calls it.
 */
Datum
mixpeek_mirror_arguments(PG_FUNCTION_ARGS)
{
	DescribeCall call = {PG_GETARG_OID(0)};
	Datum		values[8] = {0};
	bool		nulls[8] = {true, true, true, true, true, true, true, true};
	TupleDesc	desc;
	char	   *problem = guard_call(describe_trigger, &call);

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
		set_text_column(values, nulls, 0, arguments->collection, false);
		set_text_column(values, nulls, 1, arguments->server, true);
		set_text_column(values, nulls, 3, arguments->document_id_column, true);
		set_text_column(values, nulls, 4, arguments->enrichments_column, true);
		set_text_column(values, nulls, 6, arguments->filter, false);
	}
	if (call.mirror)
	{
		set_text_column(values, nulls, 5, call.mirror->table, false);
		if (problem == NULL)
			problem = call.mirror->problem ? call.mirror->problem : read_owners_problem(call.mirror);
		if (problem == NULL)
			problem = read_origin_problem();
	}
	set_text_column(values, nulls, 7, problem, false);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
