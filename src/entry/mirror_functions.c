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
#include "base/guard.h"
#include "base/statement.h"
#include "base/user.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "entry/event_triggers.h"
#include "entry/function_arguments.h"
#include "entry/mirror_trigger.h"
#include "mirror/filter.h"
#include "mirror/mirror.h"
#include "miscadmin.h"
#include "remote/server.h"
#include "state/aside.h"
#include "state/key_table.h"
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
PG_FUNCTION_INFO_V1(mixpeek_resync);

/* Milliseconds after which a request is over whose server cannot be used: the default of request_timeout. */
#define UNKNOWN_REQUEST_TIMEOUT 30000

static char *
qualify_name(Relation rel)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
									  RelationGetRelationName(rel));
}

/*
 * mirror()
 */

/* Fill in the option that the i-th argument of mirror() names, of type name or text. */
static void
set_option(FunctionCallInfo fcinfo, MirrorOption *option, int i, const char *name, bool is_name, int max_length)
{
	option->name = name;
	if (!PG_ARGISNULL(i))
		option->value = is_name ? pstrdup(NameStr(*PG_GETARG_NAME(i))) :
			function_argument_text(fcinfo, i, name, max_length);
	option->is_default = option->value && option->value[0] == '\0';
}

/* Fill in the options that are named: those whose arguments are not null.  An empty value is the default. */
static void
set_options(FunctionCallInfo fcinfo, Relation rel, MirrorOption *options)
{
	options[0].name = "document";
	if (!PG_ARGISNULL(2))
	{
		Jsonb	   *document = PG_GETARG_JSONB_P(2);

		options[0].value = JsonbToCString(NULL, &document->root, VARSIZE(document));
		options[0].is_default = JB_ROOT_IS_OBJECT(document) && JB_ROOT_COUNT(document) == 0;
	}
	set_option(fcinfo, &options[1], 3, "server", true, 0);
	options[1].is_default = options[1].value && strcmp(options[1].value, DEFAULT_SERVER_NAME) == 0;
	set_option(fcinfo, &options[2], 5, "document_id_column", true, 0);
	set_option(fcinfo, &options[3], 6, "enrichments_column", true, 0);
	set_option(fcinfo, &options[4], 7, "filter", false, MAX_FILTER);
	if (options[4].value && !options[4].is_default)
		options[4].value = filter_qualify(rel, options[4].value);
	set_option(fcinfo, &options[5], 8, "table", false, MAX_TABLE_NAME);
}

/* Check that the mirror works as the trigger defines it. */
static void
check_definition(Relation rel, const MirrorTrigger *trigger)
{
	Mirror	   *mirror = mirror_compile(rel, trigger->nargs, trigger->args, trigger->when,
										CurrentMemoryContext, MIRROR_RAISE_ALL);

	if (mirror->arguments.filter)
		(void) filter_check(rel, mirror->arguments.filter);
	(void) mixpeek_server_get(mirror->arguments.server, mirror->owner);
}

/* Say that a trigger is disabled, which mirror() keeps. */
static void
note_disabled(Relation rel, const MirrorTrigger *trigger)
{
	if (trigger->enabled == TRIGGER_DISABLED)
		ereport(NOTICE,
				(errmsg("trigger \"%s\" of table \"%s\" is disabled and stays so", trigger->name,
						RelationGetRelationName(rel)),
				 errdetail("Changes of rows are not mirrored."),
				 errhint("Use ALTER TABLE ... ENABLE TRIGGER.")));
}

/*
 * Return the row triggers of the collection with the options set, as they are to be: NULL in place
 * of one that is so already, a new one if there is none.  There may be several, for different events.
 */
static List *
plan_row_triggers(Relation rel, char *collection, const MirrorOption *options, int noptions)
{
	List	   *present = mirror_trigger_list(rel, collection, true);
	List	   *planned = NIL;
	bool		is_new = present == NIL;
	ListCell   *lc;

	if (is_new)
		present = list_make1(mirror_trigger_new(rel, collection, true));
	foreach(lc, present)
	{
		MirrorTrigger *wanted = mirror_trigger_with_options(lfirst(lc), options, noptions);

		check_definition(rel, wanted);
		note_disabled(rel, wanted);
		planned = lappend(planned, is_new || !mirror_trigger_is_same(lfirst(lc), wanted) ? wanted : NULL);
	}
	return planned;
}

/* Return the truncate trigger that is to be created, in the state of the row trigger; NULL if there is one. */
static MirrorTrigger *
plan_truncate_trigger(Oid relation, char *collection)
{
	Relation	rel = relation_open(relation, NoLock);
	List	   *row_triggers = mirror_trigger_list(rel, collection, true);
	MirrorTrigger *trigger = NULL;

	if (row_triggers == NIL)
		elog(ERROR, "the trigger on \"%s\" is not the one that was created", RelationGetRelationName(rel));
	if (mirror_trigger_list(rel, collection, false) == NIL)
	{
		trigger = mirror_trigger_new(rel, collection, false);
		trigger->enabled = ((MirrorTrigger *) linitial(row_triggers))->enabled;
	}
	relation_close(rel, NoLock);
	return trigger;
}

/*
 * mirror(relation regclass, collection text, document jsonb, server name,
 * backfill boolean, document_id_column name, enrichments_column name, filter text,
 * table text): create the triggers that mirror the table, or set the options that are named in
 * those that are there; then, unless backfill is false, enter all rows and stored keys into the
 * outbox.  Raises what CREATE TRIGGER raises, the mistakes of template and filter (see
 * template.h, filter.h) and the server's (see server.h).
 */
Datum
mixpeek_mirror(PG_FUNCTION_ARGS)
{
	MirrorOption options[6] = {0};
	char	   *collection = function_argument_collection(fcinfo, 1);
	Relation	rel;
	Oid			relation;
	List	   *triggers;
	ListCell   *lc;

	function_argument_check(fcinfo, 0, "relation");
	function_argument_check(fcinfo, 1, "collection");
	relation = PG_GETARG_OID(0);
	mirror_check_owner(relation);
	rel = relation_open(relation, ShareRowExclusiveLock);
	set_options(fcinfo, rel, options);
	triggers = plan_row_triggers(rel, collection, options, lengthof(options));
	if (rel->rd_rel->relforcerowsecurity)
		ereport(NOTICE,
				(errmsg("row-level security is forced on \"%s\"", RelationGetRelationName(rel)),
				 errdetail("The mirror reads as the table's owner: only the rows which the policies show to the owner are mirrored.")));
	relation_close(rel, NoLock);

	foreach(lc, triggers)
		mirror_trigger_create(lfirst(lc), relation);
	mirror_trigger_create(plan_truncate_trigger(relation, collection), relation);
	if (PG_ARGISNULL(4) || PG_GETARG_BOOL(4))
		outbox_add_all(relation, collection);
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
	char	   *table;			/* its name in markers of new rows; or NULL */
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
	const char *server = arguments_find(trigger->tgnargs, trigger->tgargs, "server");

	mirror->collection = pstrdup(trigger->tgargs[0]);
	mirror->server = pstrdup(server ? server : DEFAULT_SERVER_NAME);
	mirror->table = arguments_find_table(RelationGetRelid(rel), trigger->tgnargs, trigger->tgargs);
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
	key_table_forget(relation, mirror->collection);
	if (delete_documents)
	{
		(void) document_owe_delete(relation, mirror->collection, NULL, mirror->owner, mirror->request_timeout);
		owed_announce();
	}
	else
		(void) mirror_records_forget(relation, mirror->collection, mirror->table);
	user_restore(&guard);
}

pg_noreturn static void
raise_not_mirrored(Relation rel, const char *collection)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("table \"%s\" is not mirrored%s%s", RelationGetRelationName(rel),
					collection ? " into collection " : "", collection ? collection : ""),
			 errhint("See the view mixpeek.mirrors.")));
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
		mirror_trigger_run_utility(psprintf("DROP TRIGGER %s ON %s", quote_identifier(lfirst(lc)),
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
		raise_not_mirrored(rel, collection);
	foreach(lc, mirrors)
		remove_records(rel, lfirst(lc), delete_documents);
	table_close(rel, NoLock);
	PG_RETURN_VOID();
}

/*
 * retry(), refresh(), resync()
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

/*
 * resync(relation regclass, collection text): enter all rows and all stored keys of a table's mirror
 * into a collection (NULL: all its mirrors) into the outbox, and return the number of mirrors.
 * Raises ERRCODE_UNDEFINED_OBJECT if there is no such mirror, and as retry().
 */
Datum
mixpeek_resync(PG_FUNCTION_ARGS)
{
	char	   *collection = function_argument_collection(fcinfo, 1);
	List	   *collections = NIL;
	Relation	rel;
	ListCell   *lc;

	function_argument_check(fcinfo, 0, "relation");
	mirror_check_owner(PG_GETARG_OID(0));
	rel = relation_open(PG_GETARG_OID(0), AccessShareLock);
	foreach(lc, mirror_trigger_list(rel, collection, true))
		collections = list_append_unique(collections, makeString(((MirrorTrigger *) lfirst(lc))->args[0]));
	if (collections == NIL)
		raise_not_mirrored(rel, collection);
	foreach(lc, collections)
		outbox_add_all(RelationGetRelid(rel), strVal(lfirst(lc)));
	relation_close(rel, NoLock);
	PG_RETURN_INT64(list_length(collections));
}
