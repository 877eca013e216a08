/*-------------------------------------------------------------------------
 *
 * hidden_changes.c
 *		Commands that can change rows or documents without firing row triggers.
 *
 * A mirror follows its rows by a row trigger.  ATTACH PARTITION, ENABLE TRIGGER (after changes
 * while it was disabled), a new key, RENAME COLUMN, ADD COLUMN ... DEFAULT and others change
 * which rows there are, or what their documents should be, and fire no row trigger.  The
 * event trigger mixpeek_on_alter sees these commands, and has the worker compare all rows and
 * records of the mirror.  Documents that are right already cost no request, so what is not
 * known to be harmless counts as such a command.
 *
 * TRUNCATE has no event trigger; an object access hook sees it in sessions that have loaded the
 * library.  DROP is in event_triggers.c.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/relation.h"
#include "base/extension.h"
#include "base/guard.h"
#include "base/statement.h"
#include "base/user.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "entry/hidden_changes.h"
#include "mirror/key.h"
#include "mirror/mirror.h"
#include "mirror/trigger_definition.h"
#include "miscadmin.h"
#include "state/key_table.h"
#include "state/outbox.h"
#include "state/outbox_buffer.h"
#include "storage/lmgr.h"
#include "tcop/deparse_utility.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(mixpeek_on_alter);

/*
 * Noting
 */

/* Have the rows and records compared of the mirror that a row trigger defines, or that it was cloned for. */
static void
note_trigger(Oid trigger)
{
	TriggerDefinition *definition = trigger_definition_read(trigger, NULL);
	Oid			relation = trigger_definition_topmost_relation(trigger);

	if (definition == NULL || !OidIsValid(relation) || definition->nargs == 0 ||
		definition->function != mirror_function() || !arguments_is_collection(definition->args[0]))
		return;
	outbox_add_all(relation, definition->args[0]);
}

void
hidden_changes_note(Oid table)
{
	static Statement query = {
		"SELECT oid FROM pg_catalog.pg_trigger WHERE tgrelid = $1 AND tgfoid = $2 AND tgtype & 1 <> 0",
		2, {OIDOID, OIDOID}
	};
	Datum		args[2];
	List	   *triggers;
	ListCell   *lc;

	args[0] = ObjectIdGetDatum(table);
	args[1] = ObjectIdGetDatum(mirror_function());
	statement_run(&query, args, NULL);
	triggers = statement_oids();
	statement_end();
	foreach(lc, triggers)
		note_trigger(lfirst_oid(lc));
}

void
hidden_changes_note_dropped_clone(Oid parent)
{
	note_trigger(parent);
}

void
hidden_changes_note_truncate(Oid table)
{
	Relation	rel = try_relation_open(table, NoLock);
	TriggerDesc *triggers;

	if (rel == NULL)
		return;
	triggers = mirror_triggers(rel);
	relation_close(rel, NoLock);
	for (int i = 0; i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (TRIGGER_FOR_ROW(trigger->tgtype) && mirror_is_trigger_into(trigger, mirror_function(), NULL) &&
			arguments_is_collection(trigger->tgargs[0]))
			outbox_add(trigger_definition_topmost_relation(trigger->tgoid), OUTBOX_ALL_STORED, trigger->tgargs[0], NULL);
	}
}

/*
 * ALTER TABLE
 */

/* Check whether a table has a primary key, by which its rows are found then. */
static bool
has_primary_key(Oid table)
{
	Relation	rel = try_relation_open(table, NoLock);
	bool		result;

	if (rel == NULL)
		return false;
	(void) RelationGetIndexList(rel);
	result = OidIsValid(rel->rd_pkindex);
	relation_close(rel, NoLock);
	return result;
}

/* Check whether policies decide which rows a table's owner reads. */
static bool
has_forced_policies(Oid table)
{
	Relation	rel = try_relation_open(table, NoLock);
	bool		result = rel && rel->rd_rel->relforcerowsecurity;

	if (rel)
		relation_close(rel, NoLock);
	return result;
}

/* Check whether the trigger that a command names is none of the extension's. */
static bool
is_other_trigger(Oid table, const char *name)
{
	Relation	rel = try_relation_open(table, NoLock);
	bool		result = true;

	if (rel == NULL)
		return true;
	for (int i = 0; rel->trigdesc && i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &rel->trigdesc->triggers[i];

		if (strcmp(trigger->tgname, name) == 0 && trigger->tgfoid == mirror_function())
			result = false;
	}
	relation_close(rel, NoLock);
	return result;
}

static bool
is_harmless_constraint(const AlterTableCmd * cmd)
{
	const		Constraint *constraint = (const Constraint *) cmd->def;

	return constraint && IsA(constraint, Constraint) &&
		(constraint->contype == CONSTR_CHECK || constraint->contype == CONSTR_FOREIGN ||
		 constraint->contype == CONSTR_NOTNULL);
}

/*
 * Check whether a part of ALTER TABLE changes neither rows nor documents, and is no end of a time in
 * which changes were not noted.  While a table has no key each change notes all rows and records, so
 * dropping the key needs no note, and a new one does.
 */
static bool
is_harmless_part(Oid table, const AlterTableCmd * cmd)
{
	switch (cmd->subtype)
	{
		case AT_ColumnDefault:
		case AT_DropNotNull:
		case AT_SetNotNull:
		case AT_SetStatistics:
		case AT_SetOptions:
		case AT_ResetOptions:
		case AT_SetStorage:
		case AT_SetCompression:
		case AT_ValidateConstraint:
		case AT_AlterConstraint:
		case AT_ClusterOn:
		case AT_DropCluster:
		case AT_SetLogged:
		case AT_SetUnLogged:
#if PG_VERSION_NUM >= 150000
		case AT_SetAccessMethod:
#endif
		case AT_SetTableSpace:
		case AT_SetRelOptions:
		case AT_ResetRelOptions:
		case AT_ReplaceRelOptions:
		case AT_DisableTrig:
		case AT_DisableTrigAll:
		case AT_DisableTrigUser:
		case AT_EnableRule:
		case AT_EnableAlwaysRule:
		case AT_EnableReplicaRule:
		case AT_DisableRule:
		case AT_AddInherit:		/* children's rows are not mirrored */
		case AT_DropInherit:
		case AT_AddOf:
		case AT_DropOf:
		case AT_AddIdentity:
		case AT_SetIdentity:
		case AT_DropIdentity:
			return true;
		case AT_AddConstraint:
			return is_harmless_constraint(cmd);
#if PG_VERSION_NUM < 160000		/* what these become when they are run */
		case AT_AddConstraintRecurse:
			return is_harmless_constraint(cmd);
		case AT_ValidateConstraintRecurse:
			return true;
		case AT_DropConstraintRecurse:
#endif
		case AT_DropConstraint:
		case AT_ReplicaIdentity:
			return has_primary_key(table);
		case AT_ChangeOwner:
			return !has_forced_policies(table);
		case AT_EnableTrig:
		case AT_EnableAlwaysTrig:
		case AT_EnableReplicaTrig:
			return is_other_trigger(table, cmd->name);
		default:
			return false;
	}
}

static bool
is_harmless_alter_table(const CollectedCommand * command)
{
	ListCell   *lc;

	foreach(lc, command->d.alterTable.subcmds)
	{
		const		CollectedATSubcmd *part = lfirst(lc);

		if (!IsA(part->parsetree, AlterTableCmd) ||
			!is_harmless_part(command->d.alterTable.objectId, (const AlterTableCmd *) part->parsetree))
			return false;
	}
	return true;
}

/*
 * Check whether a command is known to change neither rows nor documents.  A table's new name is part
 * of a default document, but not worth an update of each: it comes with a row's next change.
 */
static bool
is_harmless(const CollectedCommand * command)
{
	const Node *statement = command->parsetree;

	if (command->type == SCT_AlterTable)
		return is_harmless_alter_table(command);
	if (statement == NULL)
		return false;
	switch (nodeTag(statement))
	{
		case T_AlterEnumStmt:
			return ((const AlterEnumStmt *) statement)->oldVal == NULL; /* ADD VALUE */
		case T_RenameStmt:
			return ((const RenameStmt *) statement)->renameType == OBJECT_TABLE ||
				((const RenameStmt *) statement)->renameType == OBJECT_TABCONSTRAINT;
		case T_AlterObjectSchemaStmt:
		case T_AlterOwnerStmt:
			return true;
		default:
			return false;
	}
}

/*
 * Other objects
 */

/*
 * Return the tables with a mirror whose rows or documents depend on a policy, type, or table (as the type
 * of its rows), as a List of Oid.
 */
static List *
find_dependent_tables(Oid class_id, Oid oid)
{
	static Statement query = {
		"WITH RECURSIVE o (classid, objid) AS (SELECT $1, $2 WHERE $1 = 'pg_catalog.pg_type'::pg_catalog.regclass"
		"  UNION SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, reltype FROM pg_catalog.pg_class"
		"   WHERE oid = $2 AND reltype <> 0 AND $1 = 'pg_catalog.pg_class'::pg_catalog.regclass"
		"  UNION SELECT d.classid, d.objid FROM o JOIN pg_catalog.pg_depend d ON d.refclassid = o.classid AND d.refobjid = o.objid"
		"   WHERE d.classid IN ('pg_catalog.pg_type'::pg_catalog.regclass, 'pg_catalog.pg_class'::pg_catalog.regclass)),"
		" c (oid) AS (SELECT objid FROM o WHERE classid = 'pg_catalog.pg_class'::pg_catalog.regclass"
		"  UNION SELECT p.polrelid FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class r ON r.oid = p.polrelid"
		"   WHERE p.oid = $2 AND $1 = 'pg_catalog.pg_policy'::pg_catalog.regclass AND r.relforcerowsecurity)"
		" SELECT DISTINCT t.tgrelid FROM pg_catalog.pg_trigger t JOIN c ON c.oid = t.tgrelid WHERE t.tgfoid = $3",
		3, {OIDOID, OIDOID, OIDOID}
	};
	Datum		args[3];
	List	   *tables;

	args[0] = ObjectIdGetDatum(class_id);
	args[1] = ObjectIdGetDatum(oid);
	args[2] = ObjectIdGetDatum(mirror_function());
	statement_run(&query, args, NULL);
	tables = statement_oids();
	statement_end();
	return tables;
}

static void
note_object(Oid class_id, Oid oid)
{
	ListCell   *lc;

	if (class_id == RelationRelationId)
		hidden_changes_note(oid);
	if (class_id == RelationRelationId || class_id == PolicyRelationId || class_id == TypeRelationId)
		foreach(lc, find_dependent_tables(class_id, oid))
			hidden_changes_note(lfirst_oid(lc));
}

/*
 * The event trigger
 */

typedef struct AlteredObject
{
	Oid			class_id;
	Oid			oid;
	const		CollectedCommand *command;
} AlteredObject;

/* Return what the command has altered, as a List of AlteredObject. */
static List *
read_altered_objects(void)
{
	static Statement query = {
		"SELECT classid, objid, command FROM pg_catalog.pg_event_trigger_ddl_commands()", 0, {0}
	};
	List	   *altered = NIL;

	statement_run(&query, NULL, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		AlteredObject *object;
		bool		isnull;
		Datum		oid = statement_value(i, 2, &isnull);

		if (isnull)
			continue;
		object = statement_palloc(sizeof(AlteredObject));
		object->class_id = DatumGetObjectId(statement_value(i, 1, NULL));
		object->oid = DatumGetObjectId(oid);
		object->command = (const CollectedCommand *) DatumGetPointer(statement_value(i, 3, NULL));
		altered = statement_lappend(altered, object);
	}
	statement_end();
	return altered;
}

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

/* Have the worker compare the definitions of keys that may depend on what was altered. */
static void
check_keys(const List *altered)
{
	bool		types = false;
	List	   *tables = NIL;
	ListCell   *lc;

	foreach(lc, altered)
	{
		const AlteredObject *object = lfirst(lc);

		if (object->class_id == TypeRelationId)
			lock_tables_with_enum(object->oid);
		if (object->class_id == RelationRelationId && get_rel_relkind(object->oid) != RELKIND_COMPOSITE_TYPE)
		{
			if (!is_harmless(object->command))
				tables = lappend_oid(tables, object->oid);
		}
		else
			types = types || object->class_id == TypeRelationId || object->class_id == RelationRelationId;
	}
	if (types)
		key_table_check_types();
	if (tables != NIL)
		key_table_check_tables(tables);
}

/* Note what the command has altered.  For guard_call(). */
static void
note_altered_objects(void *arg)
{
	UserState	guard;
	List	   *altered;
	ListCell   *lc;

	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	altered = read_altered_objects();
	check_keys(altered);
	foreach(lc, altered)
	{
		const AlteredObject *object = lfirst(lc);

		if (!is_harmless(object->command))
			note_object(object->class_id, object->oid);
	}
	user_restore(&guard);
}

/*
 * mixpeek.on_alter(): event trigger ddl_command_end, for commands that may hide changes.  A failure
 * is a WARNING, because it must not prevent the command.
 */
Datum
mixpeek_on_alter(PG_FUNCTION_ARGS)
{
	char	   *problem;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("this function must be called as an event trigger")));
	if (IsBinaryUpgrade || !OidIsValid(get_extension_oid(EXTENSION_NAME, true)))
		PG_RETURN_NULL();
	problem = guard_call(note_altered_objects, NULL);
	if (problem)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("could not note which rows the command may have changed: %s", problem),
				 errhint("Call mixpeek.resync() for each mirrored table that the command concerns.")));
	PG_RETURN_NULL();
}
