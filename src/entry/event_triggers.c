/*-------------------------------------------------------------------------
 *
 * event_triggers.c
 *		The extension's event triggers.
 *
 * mixpeek_on_ddl_start loads the library before a command that may create a trigger;
 * mixpeek_on_create_trigger warns of what is questionable in a new mirror (errors are
 * raised by object_checks.c); mixpeek_on_alter has the worker compare the keys of altered
 * tables with those that it knows; mixpeek_on_drop deletes the state of tables and mirrors
 * that were dropped; mixpeek_on_subscription leaves the extension's tables out of a subscription.
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
#include "catalog/pg_subscription_rel.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "entry/event_triggers.h"
#include "entry/object_checks.h"
#include "mirror/mirror.h"
#include "mirror/trigger_definition.h"
#include "miscadmin.h"
#include "state/key_table.h"
#include "state/mirror_records.h"
#include "state/outbox.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(mixpeek_on_ddl_start);
PG_FUNCTION_INFO_V1(mixpeek_on_create_trigger);
PG_FUNCTION_INFO_V1(mixpeek_on_alter);
PG_FUNCTION_INFO_V1(mixpeek_on_drop);
PG_FUNCTION_INFO_V1(mixpeek_on_subscription);

/* See event_triggers_keep_documents(). */
static bool keep_documents = false;

void
event_triggers_keep_documents(bool keep)
{
	keep_documents = keep;
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

/*
 * mixpeek.on_create_trigger(): event trigger ddl_command_end, for commands that can create
 * a trigger.  Raises and warns as object_checks_apply() does.
 */
Datum
mixpeek_on_create_trigger(PG_FUNCTION_ARGS)
{
	List	   *created;
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
	}
	PG_RETURN_NULL();
}

/*
 * Objects that are altered
 */

/*
 * Lock the tables whose keys contain an enum.  A transaction that has noted a key with the label's old
 * name must end before the new name is there: by the old one the worker would not find its row.
 */
static void
lock_tables_with_enum(Oid type)
{
	ListCell   *lc;

	foreach(lc, key_table_with_enum(type))
		LockRelationOid(lfirst_oid(lc), ShareRowExclusiveLock);
}

/* Have the worker compare the keys of what the command has altered. */
static void
check_altered_objects(void *arg)
{
	bool		types = false;
	List	   *tables = NIL;
	UserState	guard;
	ListCell   *lc;

	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	foreach(lc, read_created_objects())
	{
		CreatedObject *object = lfirst(lc);

		if (object->class_id == TypeRelationId)
			lock_tables_with_enum(object->oid);
		else if (object->class_id == RelationRelationId && get_rel_relkind(object->oid) != RELKIND_COMPOSITE_TYPE)
		{
			tables = lappend_oid(tables, object->oid);
			continue;
		}
		types = true;
	}
	if (types)
		key_table_check_types();
	if (tables != NIL)
		key_table_check_tables(tables);
	user_restore(&guard);
}

/*
 * mixpeek.on_alter(): event trigger ddl_command_end, for commands that can change the definition of
 * a mirror's key.  A failure is a WARNING, because it must not prevent the command: the worker
 * finds the change with the next key of the table.
 */
Datum
mixpeek_on_alter(PG_FUNCTION_ARGS)
{
	char	   *problem;

	check_event_trigger(fcinfo);
	if (!OidIsValid(get_extension_oid(EXTENSION_NAME, true)))
		PG_RETURN_NULL();
	problem = guard_call(check_altered_objects, NULL);
	if (problem)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("could not note that mirrored tables may have changed: %s", problem)));
	PG_RETURN_NULL();
}

/*
 * Objects that are dropped
 */

typedef struct DroppedObject
{
	Oid			oid;
	bool		is_table;		/* else a trigger */
} DroppedObject;

/* Return the tables and triggers that were dropped, except constraints' triggers, as a List of DroppedObject. */
static List *
read_dropped_objects(void)
{
	static Statement query = {
		"SELECT objid, object_type = 'table' FROM pg_catalog.pg_event_trigger_dropped_objects()"
		" WHERE object_type = 'table'"
		"  OR object_type = 'trigger' AND address_names[3] !~ '^RI_ConstraintTrigger_'", 0, {0}
	};
	List	   *dropped = NIL;

	statement_run(&query, NULL, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		DroppedObject *object = statement_palloc(sizeof(DroppedObject));
		bool		isnull;

		object->oid = DatumGetObjectId(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull));
		object->is_table = DatumGetBool(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &isnull));
		dropped = statement_lappend(dropped, object);
	}
	statement_end();
	return dropped;
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
		TriggerDefinition *definition = object->is_table ? NULL : trigger_definition_read_dropped(object->oid);

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
 * trigger mirrors into the same collection.  Records of other collections stay, also
 * those without a mirror: the worker still has to delete their documents.
 */
static void
forget_mirror(const TriggerDefinition *definition)
{
	const char *collection;

	if (definition->function != mirror_function() || !TRIGGER_FOR_ROW(definition->type) ||
		definition->nargs == 0)
		return;
	collection = definition->args[0];
	if (mirror_find(definition->relation, collection, CurrentMemoryContext) == NULL)
	{
		outbox_forget(definition->relation, collection);
		mirror_records_forget(definition->relation, collection);
		key_table_forget(definition->relation, collection);
	}
}

/* Delete the entries and records of a table that was dropped. */
static void
forget_table(Oid table, const List *triggers)
{
	/* most tables never had a trigger, and the outbox may be long */
	if (had_trigger(table, triggers))
		outbox_forget(table, NULL);
	mirror_records_forget(table, NULL);
	key_table_forget(table, NULL);
}

/* Delete the state of all that the command has dropped. */
static void
forget_dropped_objects(void *arg)
{
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

		if (object->is_table)
			forget_table(object->oid, triggers);
	}
	foreach(lc, triggers)
	{
		TriggerDefinition *definition = lfirst(lc);

		if (!keep_documents && get_rel_name(definition->relation))
			forget_mirror(definition);
	}
	user_restore(&guard);
}

/*
 * mixpeek.on_drop(): event trigger sql_drop.  Deletes the state of tables and mirrors that
 * were dropped.  A failure is a WARNING, because it must not prevent a DROP.
 */
Datum
mixpeek_on_drop(PG_FUNCTION_ARGS)
{
	char	   *problem;

	check_event_trigger(fcinfo);
	if (!OidIsValid(get_extension_oid(EXTENSION_NAME, true)))
		PG_RETURN_NULL();
	problem = guard_call(forget_dropped_objects, NULL);
	if (problem)
		ereport(WARNING,
				(errmsg("could not delete the records of dropped tables and mirrors: %s", problem)));
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
