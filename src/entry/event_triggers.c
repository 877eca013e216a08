/*-------------------------------------------------------------------------
 *
 * event_triggers.c
 *		The extension's event triggers.
 *
 * mixpeek_on_ddl_start loads the library before a command that may create a trigger;
 * mixpeek_on_create_trigger warns of what is questionable in a new mirror (errors are
 * raised by object_checks.c) and in an altered server; mixpeek_on_drop deletes the state of
 * tables and mirrors that were dropped, and warns of dropped servers; mixpeek_on_subscription leaves the extension's tables out of a
 * subscription; mixpeek_on_alter is in hidden_changes.c.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/extension.h"
#include "base/guard.h"
#include "base/statement.h"
#include "base/user.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_subscription_rel.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "entry/event_triggers.h"
#include "entry/hidden_changes.h"
#include "entry/object_checks.h"
#include "entry/server_checks.h"
#include "mirror/arguments.h"
#include "mirror/mirror.h"
#include "mirror/trigger_definition.h"
#include "miscadmin.h"
#include "remote/marker.h"
#include "state/key_table.h"
#include "state/mirror_records.h"
#include "state/outbox.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(mixpeek_on_ddl_start);
PG_FUNCTION_INFO_V1(mixpeek_on_create_trigger);
PG_FUNCTION_INFO_V1(mixpeek_on_drop);
PG_FUNCTION_INFO_V1(mixpeek_on_subscription);

/* See event_triggers_leave_mirrors(). */
static bool leave_mirrors = false;

void
event_triggers_leave_mirrors(bool leave)
{
	leave_mirrors = leave;
}

static void
check_event_trigger(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("this function must be called as an event trigger")));
}

/*
 * Objects that are created
 */

typedef struct CreatedObject
{
	Oid			class_id;
	Oid			oid;
} CreatedObject;

/* Return the objects that the command has created or altered, as a List of CreatedObject. */
static List *
read_created_objects(void)
{
	static Statement query = {
		"SELECT classid, objid FROM pg_catalog.pg_event_trigger_ddl_commands()", 0, {0}
	};
	List	   *created = NIL;

	statement_run(&query, NULL, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		CreatedObject *object = statement_palloc(sizeof(CreatedObject));
		bool		isnull;

		object->class_id = DatumGetObjectId(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull));
		object->oid = DatumGetObjectId(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &isnull));
		created = statement_lappend(created, object);
	}
	statement_end();
	return created;
}

/*
 * mixpeek.on_ddl_start(): event trigger ddl_command_start, for commands that can create a
 * trigger.  Does nothing: calling it has loaded the library, and with it the hook of
 * object_checks.c.
 */
Datum
mixpeek_on_ddl_start(PG_FUNCTION_ARGS)
{
	check_event_trigger(fcinfo);
	PG_RETURN_NULL();
}

/* Return the name that the command has taken from a foreign server, or NULL. */
static const char *
find_renamed_server(FunctionCallInfo fcinfo)
{
	const Node *command = ((EventTriggerData *) fcinfo->context)->parsetree;
	const RenameStmt *rename = (const RenameStmt *) command;

	return IsA(command, RenameStmt) && rename->renameType == OBJECT_FOREIGN_SERVER ? strVal(rename->object) : NULL;
}

/*
 * mixpeek.on_create_trigger(): event trigger ddl_command_end, for commands that can create
 * a trigger.  Raises and warns as object_checks_apply() does.
 */
Datum
mixpeek_on_create_trigger(PG_FUNCTION_ARGS)
{
	List	   *created;
	const char *renamed;
	UserState	guard;
	ListCell   *lc;

	check_event_trigger(fcinfo);
	user_switch(&guard, GetUserId());
	created = read_created_objects();
	user_restore(&guard);
	foreach(lc, created)
	{
		CreatedObject *object = lfirst(lc);

		object_checks_apply(object->class_id, object->oid, true);
		if (object->class_id == ForeignServerRelationId)
			server_checks_warn_altered(object->oid);
	}
	renamed = find_renamed_server(fcinfo);
	if (renamed)
		server_checks_warn_gone(renamed);
	PG_RETURN_NULL();
}

/*
 * Objects that are dropped
 */

typedef enum DroppedKind
{
	DROPPED_TABLE,
	DROPPED_TRIGGER,
	DROPPED_PART				/* a part of this table, on which its rows or
								 * documents depend */
} DroppedKind;

typedef struct DroppedObject
{
	Oid			oid;
	DroppedKind kind;
} DroppedObject;

/*
 * Return the tables, triggers (except constraints'), columns and policies that were dropped, as a List
 * of DroppedObject.  The policies are those that the table's owner is subject to.
 */
static List *
read_dropped_objects(void)
{
	static Statement query = {
		"WITH d AS MATERIALIZED (SELECT * FROM pg_catalog.pg_event_trigger_dropped_objects())"
		" SELECT objid, CASE object_type WHEN 'table' THEN 0 WHEN 'trigger' THEN 1 ELSE 2 END FROM d"
		" WHERE object_type IN ('table', 'table column')"
		"  OR object_type = 'trigger' AND address_names[3] !~ '^RI_ConstraintTrigger_'"
		" UNION ALL SELECT c.oid, 2 FROM d JOIN pg_catalog.pg_class c ON c.relforcerowsecurity"
		"  AND c.oid = pg_catalog.to_regclass(pg_catalog.format('%I.%I', d.address_names[1], d.address_names[2]))"
		" WHERE d.object_type = 'policy'", 0, {0}
	};
	List	   *dropped = NIL;

	statement_run(&query, NULL, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		DroppedObject *object = statement_palloc(sizeof(DroppedObject));
		bool		isnull;

		object->oid = DatumGetObjectId(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull));
		object->kind = (DroppedKind) DatumGetInt32(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &isnull));
		dropped = statement_lappend(dropped, object);
	}
	statement_end();
	return dropped;
}

/* Return the names of the foreign servers that were dropped, as a List of char *. */
static List *
read_dropped_servers(void)
{
	static Statement query = {
		"SELECT address_names[1] FROM pg_catalog.pg_event_trigger_dropped_objects() WHERE object_type = 'server'", 0, {0}
	};
	List	   *names = NIL;

	statement_run(&query, NULL, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
		names = statement_lappend(names, statement_text(SPI_tuptable->vals[i], 1));
	statement_end();
	return names;
}

/* Return the definitions of the triggers among dropped objects. */
static List *
read_dropped_triggers(const List *dropped)
{
	List	   *definitions = NIL;
	ListCell   *lc;

	foreach(lc, dropped)
	{
		DroppedObject *object = lfirst(lc);
		TriggerDefinition *definition = object->kind == DROPPED_TRIGGER ?
			trigger_definition_read_dropped(object->oid) : NULL;

		if (definition)
			definitions = lappend(definitions, definition);
	}
	return definitions;
}

static bool
had_trigger(Oid table, const List *definitions)
{
	ListCell   *lc;

	foreach(lc, definitions)
	{
		if (((TriggerDefinition *) lfirst(lc))->relation == table)
			return true;
	}
	return false;
}

/*
 * Delete the entries and records of a mirror whose trigger was dropped, unless another
 * trigger mirrors into the same collection.  Records of other collections stay.  Returns which
 * documents are left, as a List of ForgottenDocuments.
 */
static List *
forget_mirror(const TriggerDefinition *definition)
{
	const char *collection;

	if (definition->function != mirror_function() || !TRIGGER_FOR_ROW(definition->type) ||
		definition->nargs == 0)
		return NIL;
	collection = definition->args[0];
	if (mirror_find(definition->relation, collection, CurrentMemoryContext) != NULL)
		return NIL;
	outbox_forget(definition->relation, collection);
	key_table_forget(definition->relation, collection);
	return mirror_records_forget(definition->relation, collection,
								 arguments_find_table(definition->relation, definition->nargs, definition->args));
}

/* Delete the entries and records of a table that was dropped; return what forget_mirror() does. */
static List *
forget_table(Oid table, const List *triggers)
{
	/* most tables never had a trigger, and the outbox may be long */
	if (had_trigger(table, triggers))
		outbox_forget(table, NULL);
	key_table_forget(table, NULL);
	return mirror_records_forget(table, NULL, NULL);
}

/* Delete the state of all that the command has dropped.  Appends the documents that are left to the List at arg. */
static void
forget_dropped_objects(void *arg)
{
	List	  **left = arg;
	UserState	guard;
	List	   *dropped;
	List	   *triggers;
	ListCell   *lc;

	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	dropped = read_dropped_objects();
	triggers = read_dropped_triggers(dropped);
	foreach(lc, dropped)
	{
		DroppedObject *object = lfirst(lc);

		if (object->kind == DROPPED_TABLE)
			*left = list_concat(*left, forget_table(object->oid, triggers));
		else if (object->kind == DROPPED_PART)
			hidden_changes_note(object->oid);
	}
	foreach(lc, triggers)
	{
		TriggerDefinition *definition = lfirst(lc);

		if (OidIsValid(definition->parent))
			hidden_changes_note_dropped_clone(definition->parent);
		else if (!leave_mirrors && get_rel_name(definition->relation))
			*left = list_concat(*left, forget_mirror(definition));
	}
	user_restore(&guard);
}

/* Warn of what has no server any more. */
static void
warn_of_dropped_servers(void *arg)
{
	UserState	guard;
	List	   *names;
	ListCell   *lc;

	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	names = read_dropped_servers();
	user_restore(&guard);
	foreach(lc, names)
		server_checks_warn_gone(lfirst(lc));
}

/* Warn of documents that nothing in this database names any more. */
static void
warn_of_left_documents(const List *left)
{
	ListCell   *lc;

	foreach(lc, left)
	{
		const ForgottenDocuments *documents = lfirst(lc);

		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg_plural("%lld document in collection \"%s\" stays at the API",
							   "%lld documents in collection \"%s\" stay at the API",
							   documents->count, (long long) documents->count, documents->collection),
				 errdetail("Its metadata." MARKER_FIELD " begins with \"%s\".", documents->prefix),
				 errhint("To have documents deleted, call mixpeek.unmirror(..., delete_documents => true) before the table or the mirror is dropped.")));
	}
}

/*
 * mixpeek.on_drop(): event trigger sql_drop.  Deletes the state of tables and mirrors that
 * were dropped, and warns of documents that stay and of mirrors without a server.  A failure is a WARNING, because it must
 * not prevent a DROP.
 */
Datum
mixpeek_on_drop(PG_FUNCTION_ARGS)
{
	List	   *left = NIL;
	char	   *problem;

	check_event_trigger(fcinfo);
	if (!OidIsValid(get_extension_oid(EXTENSION_NAME, true)))
		PG_RETURN_NULL();
	problem = guard_call(forget_dropped_objects, &left);
	if (problem)
		ereport(WARNING,
				(errmsg("could not delete the records of dropped tables and mirrors: %s", problem)));
	else
		warn_of_left_documents(left);
	problem = guard_call(warn_of_dropped_servers, NULL);
	if (problem)
		ereport(WARNING,
				(errmsg("could not find out which mirrors have no server any more: %s", problem)));
	PG_RETURN_NULL();
}

/*
 * Subscriptions
 */

typedef struct SubscribedTable
{
	Oid			subscription;
	Oid			table;
} SubscribedTable;

/* Return the extension's tables that subscriptions have, as a List of SubscribedTable. */
static List *
read_subscribed_tables(void)
{
	static Statement query = {
		"SELECT s.srsubid, s.srrelid FROM pg_catalog.pg_subscription_rel s, pg_catalog.pg_depend d,"
		"  pg_catalog.pg_extension e"
		" WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = s.srrelid"
		"  AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid"
		"  AND d.deptype = 'e' AND e.extname = '" EXTENSION_NAME "'", 0, {0}
	};
	List	   *tables = NIL;

	statement_run(&query, NULL, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		SubscribedTable *table = statement_palloc(sizeof(SubscribedTable));

		table->subscription = DatumGetObjectId(statement_value(i, 1, NULL));
		table->table = DatumGetObjectId(statement_value(i, 2, NULL));
		tables = statement_lappend(tables, table);
	}
	statement_end();
	return tables;
}

/*
 * mixpeek.on_subscription(): event trigger ddl_command_end, for commands that add tables to a
 * subscription.  Takes the extension's tables out again.  A publication FOR ALL TABLES cannot leave them
 * out, but what they hold is no data: it is what another database's worker knows and has to do.
 * Changes of a table that the subscription does not have are ignored before they are read, so
 * it does not matter what they refer to.
 */
Datum
mixpeek_on_subscription(PG_FUNCTION_ARGS)
{
	List	   *tables;
	UserState	guard;
	ListCell   *lc;

	check_event_trigger(fcinfo);
	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	tables = read_subscribed_tables();
	foreach(lc, tables)
	{
		SubscribedTable *table = lfirst(lc);

		RemoveSubscriptionRel(table->subscription, table->table);
	}
	user_restore(&guard);
	PG_RETURN_NULL();
}
