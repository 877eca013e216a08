/*-------------------------------------------------------------------------
 *
 * mirror_functions.c
 *		SQL functions that create, drop and restart mirrors.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/relation.h"
#include "access/table.h"
#include "base/bounds.h"
#include "base/extension.h"
#include "base/statement.h"
#include "base/user.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/trigger.h"
#include "entry/event_triggers.h"
#include "entry/function_arguments.h"
#include "mirror/mirror.h"
#include "miscadmin.h"
#include "remote/server.h"
#include "state/aside.h"
#include "state/mirror_records.h"
#include "state/outbox.h"
#include "state/outbox_buffer.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(mixpeek_mirror);
PG_FUNCTION_INFO_V1(mixpeek_unmirror);
PG_FUNCTION_INFO_V1(mixpeek_retry);
PG_FUNCTION_INFO_V1(mixpeek_refresh);

/* Run a utility statement. */
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
qualify_name(Relation rel)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
									  RelationGetRelationName(rel));
}

/*
 * mirror()
 */

/* Return the name of the row or the truncate trigger that mirrors into the collection; NULL if there is none. */
static char *
find_trigger_name(Relation rel, const char *collection, bool for_row)
{
	Oid			function = mirror_function();
	TriggerDesc *triggers = mirror_triggers(rel);

	for (int i = 0; i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (mirror_is_trigger_into(trigger, function, collection) &&
			(bool) TRIGGER_FOR_ROW(trigger->tgtype) == for_row)
			return trigger->tgname;
	}
	return NULL;
}

/* Check whether the table has a trigger of this name. */
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

/* Return first_second, cut to the length of an identifier, and numbered if another trigger has this name. */
static char *
choose_free_name(Relation rel, const char *first, const char *second)
{
	char	   *name = makeObjectName(first, second, NULL);

	for (int i = 2; name_is_taken(rel, name); i++)
		name = makeObjectName(first, second, psprintf("%d", i));
	return name;
}

/* Return the name for the collection's row trigger: the present one, "mixpeek", or a free one. */
static char *
choose_row_trigger_name(Relation rel, const char *collection)
{
	char	   *name = find_trigger_name(rel, collection, true);

	if (name)
		return name;
	return name_is_taken(rel, "mixpeek") ? choose_free_name(rel, "mixpeek", collection) : "mixpeek";
}

static char *
choose_truncate_trigger_name(Relation rel, const char *collection, const char *row_trigger)
{
	char	   *name = find_trigger_name(rel, collection, false);

	return name ? name : choose_free_name(rel, row_trigger, "truncate");
}

/* Make the trigger's arguments, at most six, from those of mirror(); return their number. */
static int
make_arguments(FunctionCallInfo fcinfo, char **args)
{
	int			n = 0;

	args[n++] = function_argument_collection(fcinfo, 1);
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

/*
 * Return the qualified name of mirror_row(), made from its oid: the schema may have been
 * renamed, and a function of another schema must not be called.
 */
static const char *
trigger_function_name(void)
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
					 quote_identifier(name), event, qualify_name(rel),
					 strcmp(event, "TRUNCATE") == 0 ? "STATEMENT" : "ROW", trigger_function_name());
	for (int i = 0; i < nargs; i++)
		appendStringInfo(&sql, "%s%s", i ? ", " : "", quote_literal_cstr(args[i]));
	appendStringInfoChar(&sql, ')');
	run_utility(sql.data);
}

/*
 * mirror(relation regclass, collection text, document jsonb, server name,
 * backfill boolean, document_id_column name, enrichments_column name): create
 * or replace the triggers that mirror the table and, unless backfill is false, enter all
 * rows and stored keys into the outbox.  Raises what CREATE TRIGGER raises, the
 * template's mistakes (see template.h) and the server's (see server.h).
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

	function_argument_check(fcinfo, 0, "relation");
	function_argument_check(fcinfo, 1, "collection");
	relation = PG_GETARG_OID(0);
	mirror_check_owner(relation);
	rel = relation_open(relation, ShareRowExclusiveLock);
	nargs = make_arguments(fcinfo, args);
	mirror = mirror_compile(rel, nargs, args, CurrentMemoryContext, true);
	(void) mixpeek_server_get(mirror->arguments.server, mirror->owner);
	name = choose_row_trigger_name(rel, args[0]);
	truncate_name = choose_truncate_trigger_name(rel, args[0], name);

	create_trigger(name, rel, "INSERT OR UPDATE OR DELETE", nargs, args);
	create_trigger(truncate_name, rel, "TRUNCATE", 1, args);
	if (find_trigger_name(rel, args[0], true) == NULL)
		elog(ERROR, "the trigger on \"%s\" is not the one that was created", RelationGetRelationName(rel));
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

/* Drop the triggers of a collection (NULL: of all); return the row triggers' collections, as a List of char *. */
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

		if (!mirror_is_trigger_into(trigger, function, collection))
			continue;
		names = lappend(names, trigger->tgname);
		if (TRIGGER_FOR_ROW(trigger->tgtype))
			collections = lappend(collections, trigger->tgargs[0]);
	}
	foreach(lc, names)
		run_utility(psprintf("DROP TRIGGER %s ON %s", quote_identifier(lfirst(lc)),
							 qualify_name(rel)));
	return collections;
}

/*
 * unmirror(relation regclass, collection text, delete_documents boolean): drop
 * the mirror's triggers.  Its records are deleted with them, or, with
 * delete_documents, kept until the worker has deleted the documents.  Raises
 * ERRCODE_UNDEFINED_OBJECT if there is no such mirror, and what DROP TRIGGER
 * raises.
 */
Datum
mixpeek_unmirror(PG_FUNCTION_ARGS)
{
	bool		delete_documents = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	char	   *collection = function_argument_collection(fcinfo, 1);
	List	   *collections;
	ListCell   *lc;
	Relation	rel;

	function_argument_check(fcinfo, 0, "relation");
	mirror_check_owner(PG_GETARG_OID(0));
	rel = table_open(PG_GETARG_OID(0), AccessExclusiveLock);
	event_triggers_keep_documents(delete_documents);
	PG_TRY();
	{
		collections = drop_triggers(rel, collection);
	}
	PG_FINALLY();
	{
		event_triggers_keep_documents(false);
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

/* Return the tables that the current user owns and that have something to retry, as a List of Oid. */
static List *
find_relations_to_retry(void)
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

/* Retry the failed keys of one table; return their number. */
static int64
retry_relation(Oid relation, const char *collection, const char *error)
{
	UserState	guard;
	int64		n;

	mirror_check_owner(relation);
	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	aside_lift(relation);
	n = mirror_records_retry(relation, collection, error);
	user_restore(&guard);
	return n;
}

/*
 * retry(relation regclass, collection text, error text): enter the keys of failed
 * records into the outbox again, and return their number.  Raises
 * ERRCODE_INSUFFICIENT_PRIVILEGE unless the caller owns the table.
 */
Datum
mixpeek_retry(PG_FUNCTION_ARGS)
{
	char	   *collection = function_argument_collection(fcinfo, 1);
	char	   *error = function_argument_text(fcinfo, 2, "error", MAX_ARGUMENT);
	int64		n = 0;
	ListCell   *lc;

	if (!PG_ARGISNULL(0))
		PG_RETURN_INT64(retry_relation(PG_GETARG_OID(0), collection, error));
	foreach(lc, find_relations_to_retry())
		n += retry_relation(lfirst_oid(lc), collection, error);
	PG_RETURN_INT64(n);
}

/*
 * refresh(relation regclass, collection text): have the enrichments of mirrored
 * documents polled again, and return their number.  Raises as retry().
 */
Datum
mixpeek_refresh(PG_FUNCTION_ARGS)
{
	UserState	guard;
	int64		n;

	function_argument_check(fcinfo, 0, "relation");
	mirror_check_owner(PG_GETARG_OID(0));
	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	n = mirror_records_refresh(PG_GETARG_OID(0), function_argument_collection(fcinfo, 1));
	user_restore(&guard);
	PG_RETURN_INT64(n);
}
