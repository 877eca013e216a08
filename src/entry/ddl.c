/*-------------------------------------------------------------------------
 *
 * ddl.c
 *		What CREATE, ALTER and DROP may do to mirrors, and must do for them.
 *
 * A mirror's mistakes are errors where it is made, and only the table's owner
 * makes one.  Triggers come into being in more ways than CREATE TRIGGER, and not
 * all of them tell event triggers what they made (within REFRESH MATERIALIZED
 * VIEW they do not, and with session_replication_role = replica there are no
 * event triggers), so the check is an object access hook.  It is there where the
 * library is: with preloading, everywhere.  Without, one event trigger loads it before
 * anything is made, and another one is for warnings.
 *
 * The same hook keeps triggers, rules and foreign keys off the extension's own
 * tables, for what writes to those would not run them, and its schema's name.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "base/bounds.h"
#include "base/extension.h"
#include "base/guard.h"
#include "base/statement.h"
#include "base/user.h"
#include "catalog/indexing.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_trigger.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "entry/ddl.h"
#include "mirror/definition.h"
#include "mirror/mirror.h"
#include "miscadmin.h"
#include "state/mirror_records.h"
#include "state/outbox.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(mixpeek_on_ddl_start);
PG_FUNCTION_INFO_V1(mixpeek_on_create_trigger);
PG_FUNCTION_INFO_V1(mixpeek_on_drop);

static object_access_hook_type prev_object_access = NULL;

/* See ddl_keep_documents(). */
static bool keep_documents = false;

void
ddl_keep_documents(bool keep)
{
	keep_documents = keep;
}

/*
 * A mirror sends the owner's rows with the owner's key: it is nobody else's
 * affair, not even of those who may create triggers.
 */
void
ddl_check_owner(Oid relation)
{
	if (!COMPAT_OWNS_TABLE(relation, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(relation));
}

/*
 * Mirrors that are made
 */

static bool
fires_for_column(const Definition *definition, AttrNumber attnum)
{
	for (int i = 0; i < definition->ncolumns; i++)
	{
		if (definition->columns[i] == attnum)
			return true;
	}
	return definition->ncolumns == 0;
}

/* UPDATE OF may leave out what the documents do not need, and nothing else. */
static void
warn_of_update_of(Relation rel, const Definition *definition, const Mirror *mirror)
{
	Bitmapset  *columns = bms_copy(mirror->template->used);
	int			attnum = -1;

	for (int i = 0; i < mirror->key->ncolumns; i++)
		columns = bms_add_member(columns, mirror->key->columns[i].attnum);
	while ((attnum = bms_next_member(columns, attnum)) >= 0)
	{
		if (!fires_for_column(definition, attnum))
			ereport(WARNING,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("updates of column \"%s\" of table \"%s\" will not be mirrored",
							NameStr(TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attname),
							RelationGetRelationName(rel)),
					 errhint("List all columns of the key and of the document after UPDATE OF, or use UPDATE without a list.")));
	}
}

static void
check_events(int16 type)
{
	if (!TRIGGER_FOR_AFTER(type) ||
		(bool) TRIGGER_FOR_ROW(type) == (bool) TRIGGER_FOR_TRUNCATE(type))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("mixpeek.mirror_row() must be fired AFTER INSERT, UPDATE or DELETE FOR EACH ROW, or AFTER TRUNCATE")));
}

static void
check_count(Relation rel, const Definition *definition)
{
	if (definition_count(definition->relation, definition->function,
						 TRIGGER_FOR_ROW(definition->type)) > MAX_MIRRORS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("table \"%s\" has more than %d mirrors", RelationGetRelationName(rel), MAX_MIRRORS)));
}

/*
 * Raises what is wrong with a mirror.  A dump may be restored in an order in which the table has no
 * key yet, which is why pg_dump switches such checks off: then it is the view's problem to tell.
 */
static void
check_mirror(const Definition *definition, bool warn)
{
	Relation	rel = table_open(definition->relation, AccessShareLock);
	bool		is_restored = !check_function_bodies;
	MirrorArguments arguments = {0};
	Mirror	   *mirror;

	ddl_check_owner(definition->relation);
	check_events(definition->type);
	check_count(rel, definition);
	arguments_decode(&arguments, definition->nargs, definition->args);
	mirror = mirror_compile(rel, definition->nargs, definition->args, CurrentMemoryContext, !is_restored);
	if (warn && mirror->problem)
		ereport(WARNING,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("table \"%s\" cannot be mirrored yet: %s", RelationGetRelationName(rel), mirror->problem)));
	else if (warn && TRIGGER_FOR_UPDATE(definition->type))
		warn_of_update_of(rel, definition, mirror);
	mirror_free(mirror);
	table_close(rel, AccessShareLock);
}

static void
refuse_on_own_table(Oid relation, const char *what)
{
	if (extension_has_table(relation))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" of extension \"%s\" cannot have %s",
						get_rel_name(relation), EXTENSION_NAME, what),
				 errdetail("What writes to the table runs no trigger, checks no foreign key and follows no rule.")));
}

/* A partition's copy is as good as what it is a copy of. */
static void
check_trigger(Oid trigger, bool warn)
{
	Definition *definition = definition_read(trigger, SnapshotSelf);

	if (definition == NULL)
		return;
	refuse_on_own_table(definition->relation, "triggers");
	if (definition->function == mirror_function() && !OidIsValid(definition->parent))
		check_mirror(definition, warn);
}

/* The only tuple of a catalog with this oid, as it is now, to a function. */
static void
with_tuple(Oid catalog, Oid index, AttrNumber column, Oid oid, void (*function) (HeapTuple tuple))
{
	Relation	rel = table_open(catalog, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(oid));
	scan = systable_beginscan(rel, index, true, SnapshotSelf, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		function(tuple);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

static void
check_rule(HeapTuple tuple)
{
	refuse_on_own_table(((Form_pg_rewrite) GETSTRUCT(tuple))->ev_class, "rules");
}

static void
check_schema_name(HeapTuple tuple)
{
	if (strcmp(NameStr(((Form_pg_namespace) GETSTRUCT(tuple))->nspname), EXTENSION_SCHEMA) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("schema \"%s\" of extension \"%s\" cannot be renamed", EXTENSION_SCHEMA, EXTENSION_NAME)));
}

static void
check_schema(Oid schema)
{
	if (OidIsValid(schema) && schema == extension_schema())
		with_tuple(NamespaceRelationId, NamespaceOidIndexId, Anum_pg_namespace_oid, schema, check_schema_name);
}

static void
check_object(Oid class_id, Oid object_id, bool warn)
{
	if (class_id == TriggerRelationId)
		check_trigger(object_id, warn);
	else if (class_id == RewriteRelationId)
		with_tuple(RewriteRelationId, RewriteOidIndexId, Anum_pg_rewrite_oid, object_id, check_rule);
	else if (class_id == NamespaceRelationId)
		check_schema(object_id);
}

/* Constraints' triggers are internal; they are made and changed as others are. */
static void
on_object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class_id, object_id, sub_id, arg);
	if (access == OAT_POST_CREATE ||
		(access == OAT_POST_ALTER && class_id == NamespaceRelationId))
		check_object(class_id, object_id, false);
}

void
ddl_init(void)
{
	if (IsBinaryUpgrade)
		return;
	prev_object_access = object_access_hook;
	object_access_hook = on_object_access;
}

typedef struct MadeObject
{
	Oid			class_id;
	Oid			oid;
} MadeObject;

static List *
made_objects(void)
{
	static Statement query = {
		"SELECT classid, objid FROM pg_catalog.pg_event_trigger_ddl_commands()", 0, {0}
	};
	List	   *made = NIL;

	statement_run(&query, NULL, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		MadeObject *object = statement_palloc(sizeof(MadeObject));
		bool		isnull;

		object->class_id = DatumGetObjectId(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull));
		object->oid = DatumGetObjectId(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &isnull));
		made = statement_lappend(made, object);
	}
	statement_end();
	return made;
}

static void
check_event_trigger(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("this function must be called as an event trigger")));
}

/* Before CREATE TRIGGER and what else can make one: to be called is to have been loaded. */
Datum
mixpeek_on_ddl_start(PG_FUNCTION_ARGS)
{
	check_event_trigger(fcinfo);
	PG_RETURN_NULL();
}

/*
 * After CREATE TRIGGER and what else can make one: a mirror's mistakes are errors
 * there and then (see arguments.h, mirror.h and template.h).
 */
Datum
mixpeek_on_create_trigger(PG_FUNCTION_ARGS)
{
	List	   *made;
	UserState	guard;
	ListCell   *lc;

	check_event_trigger(fcinfo);
	user_switch(&guard, GetUserId());
	made = made_objects();
	user_restore(&guard);
	foreach(lc, made)
		check_object(((MadeObject *) lfirst(lc))->class_id, ((MadeObject *) lfirst(lc))->oid, true);
	PG_RETURN_NULL();
}

/*
 * Mirrors that are dropped
 */

typedef struct Dropped
{
	Oid			oid;
	bool		is_table;		/* else a trigger */
} Dropped;

static List *
dropped_objects(void)
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
		Dropped    *object = statement_palloc(sizeof(Dropped));
		bool		isnull;

		object->oid = DatumGetObjectId(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull));
		object->is_table = DatumGetBool(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &isnull));
		dropped = statement_lappend(dropped, object);
	}
	statement_end();
	return dropped;
}

/* The definitions of the triggers among what was dropped; all of the same transaction. */
static List *
dropped_triggers(const List *dropped)
{
	List	   *definitions = NIL;
	ListCell   *lc;

	foreach(lc, dropped)
	{
		Dropped    *object = lfirst(lc);
		Definition *definition = object->is_table ? NULL : definition_read_dropped(object->oid);

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
		if (((Definition *) lfirst(lc))->relation == table)
			return true;
	}
	return false;
}

/*
 * Forgets the documents of a mirror whose trigger was dropped.  Only those: lines of other collections
 * that have no mirror any more wait for the worker to delete their documents.
 */
static void
forget_mirror(const Definition *definition)
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
	}
}

static void
forget_table(Oid table, const List *triggers)
{
	if (had_trigger(table, triggers))	/* most tables never had one, and the
										 * outbox may be long */
		outbox_forget(table, NULL);
	mirror_records_forget(table, NULL);
}

static void
forget_dropped(void *arg)
{
	UserState	guard;
	List	   *dropped;
	List	   *triggers;
	ListCell   *lc;

	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	dropped = dropped_objects();
	triggers = dropped_triggers(dropped);
	foreach(lc, dropped)
	{
		Dropped    *object = lfirst(lc);

		if (object->is_table)
			forget_table(object->oid, triggers);
	}
	foreach(lc, triggers)
	{
		Definition *definition = lfirst(lc);

		if (!keep_documents && get_rel_name(definition->relation))
			forget_mirror(definition);
	}
	user_restore(&guard);
}

/*
 * After a DROP: the state of tables and mirrors that are gone goes with them.
 * Must not keep anybody from dropping anything.
 */
Datum
mixpeek_on_drop(PG_FUNCTION_ARGS)
{
	char	   *problem;

	check_event_trigger(fcinfo);
	if (!OidIsValid(get_extension_oid(EXTENSION_NAME, true)))
		PG_RETURN_NULL();
	problem = guard_call(forget_dropped, NULL);
	if (problem)
		ereport(WARNING,
				(errmsg("could not forget the documents of what was dropped: %s", problem)));
	PG_RETURN_NULL();
}
