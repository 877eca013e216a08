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
#include "base/guard.h"
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
#include "state/owed.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(mixpeek_mirror);
PG_FUNCTION_INFO_V1(mixpeek_unmirror);
PG_FUNCTION_INFO_V1(mixpeek_retry);
PG_FUNCTION_INFO_V1(mixpeek_refresh);

/* Milliseconds after which a request is over whose server cannot be used: the default of request_timeout. */
#define UNKNOWN_REQUEST_TIMEOUT 30000

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
		outbox_add_all(relation, args[0]);
	relation_close(rel, NoLock);
	PG_RETURN_VOID();
}

/*
 * unmirror()
 */

/* A mirror that is dropped. */
typedef struct DroppedMirror
{
	char	   *collection;
	char	   *server;
	Oid			owner;
	int			request_timeout;	/* the server's, in milliseconds */
} DroppedMirror;

/* Read the mirror's request_timeout.  For guard_call(). */
static void
read_request_timeout(void *arg)
{
	DroppedMirror *mirror = arg;

	mirror->request_timeout = mixpeek_server_get(mirror->server, mirror->owner)->request_timeout;
}

static DroppedMirror *
make_dropped_mirror(Relation rel, const Trigger *trigger)
{
	DroppedMirror *mirror = palloc0(sizeof(DroppedMirror));
	MirrorArguments arguments = {0};

	arguments_default(&arguments, trigger->tgnargs, trigger->tgargs);
	mirror->collection = pstrdup(trigger->tgargs[0]);
	mirror->server = pstrdup(arguments.server);
	mirror->owner = rel->rd_rel->relowner;
	mirror->request_timeout = UNKNOWN_REQUEST_TIMEOUT;
	(void) guard_call(read_request_timeout, mirror);
	return mirror;
}

/*
 * Remove what is stored of a mirror.  With delete_documents its documents will be deleted, whatever
 * becomes of the table.
 */
static void
remove_records(Relation rel, const DroppedMirror *mirror, bool delete_documents)
{
	Oid			relation = RelationGetRelid(rel);
	UserState	guard;

	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	outbox_forget(relation, mirror->collection);
	if (delete_documents)
	{
		(void) document_owe_delete(relation, mirror->collection, NULL, mirror->owner, mirror->request_timeout);
		owed_announce();
	}
	else
		(void) mirror_records_forget(relation, mirror->collection);
	user_restore(&guard);
}

/* Drop the triggers of a collection (NULL: of all); return the mirrors, as a List of DroppedMirror. */
static List *
drop_triggers(Relation rel, const char *collection)
{
	Oid			function = mirror_function();
	TriggerDesc *triggers = mirror_triggers(rel);
	List	   *mirrors = NIL;
	List	   *names = NIL;
	ListCell   *lc;

	for (int i = 0; i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (!mirror_is_trigger_into(trigger, function, collection))
			continue;
		names = lappend(names, trigger->tgname);
		if (TRIGGER_FOR_ROW(trigger->tgtype))
			mirrors = lappend(mirrors, make_dropped_mirror(rel, trigger));
	}
	foreach(lc, names)
		run_utility(psprintf("DROP TRIGGER %s ON %s", quote_identifier(lfirst(lc)),
							 qualify_name(rel)));
	return mirrors;
}

/*
 * unmirror(relation regclass, collection text, delete_documents boolean): drop
 * the mirror's triggers and delete its records; with delete_documents, they become owed
 * deletes.  Raises ERRCODE_UNDEFINED_OBJECT if there is no such mirror, and what DROP
 * TRIGGER raises.
 */
Datum
mixpeek_unmirror(PG_FUNCTION_ARGS)
{
	bool		delete_documents = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	char	   *collection = function_argument_collection(fcinfo, 1);
	List	   *mirrors;
	ListCell   *lc;
	Relation	rel;

	function_argument_check(fcinfo, 0, "relation");
	mirror_check_owner(PG_GETARG_OID(0));
	rel = table_open(PG_GETARG_OID(0), AccessExclusiveLock);
	event_triggers_leave_mirrors(true);
	PG_TRY();
	{
		mirrors = drop_triggers(rel, collection);
	}
	PG_FINALLY();
	{
		event_triggers_leave_mirrors(false);
	}
	PG_END_TRY();
	if (mirrors == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table \"%s\" is not mirrored%s%s", RelationGetRelationName(rel),
						collection ? " into collection " : "", collection ? collection : ""),
				 errhint("See the view mixpeek.mirrors.")));
	foreach(lc, mirrors)
		remove_records(rel, lfirst(lc), delete_documents);
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

/* Retry the failed owed deletes of the current user; return their number. */
static int64
retry_owed(const char *collection, const char *error)
{
	Oid			user = GetUserId();
	UserState	guard;
	int64		n;

	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	n = owed_retry(user, collection, error);
	user_restore(&guard);
	return n;
}

/*
 * retry(relation regclass, collection text, error text): have the keys of failed records
 * tried again, and return their number.  With relation 0 these are the owed deletes alone, and
 * with NULL those and all tables'.  Raises ERRCODE_INSUFFICIENT_PRIVILEGE unless the caller
 * owns the table.
 */
Datum
mixpeek_retry(PG_FUNCTION_ARGS)
{
	char	   *collection = function_argument_collection(fcinfo, 1);
	char	   *error = function_argument_text(fcinfo, 2, "error", MAX_ARGUMENT);
	int64		n = 0;
	ListCell   *lc;

	if (!PG_ARGISNULL(0) && OidIsValid(PG_GETARG_OID(0)))
		PG_RETURN_INT64(retry_relation(PG_GETARG_OID(0), collection, error));
	if (PG_ARGISNULL(0))
		foreach(lc, find_relations_to_retry())
			n += retry_relation(lfirst_oid(lc), collection, error);
	PG_RETURN_INT64(n + retry_owed(collection, error));
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
