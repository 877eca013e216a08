/*-------------------------------------------------------------------------
 *
 * object_checks.c
 *		Checks of objects that are created or changed: mirrors, and what the
 *		extension's own objects must not get.
 *
 * A mirror's mistakes are errors of the command that creates its trigger, and only the
 * table's owner may create one.  Not every command that creates a trigger runs event
 * triggers that can tell which one: there are none within REFRESH MATERIALIZED VIEW, or
 * with session_replication_role = replica.  Therefore the checks are in an object access
 * hook.  If the library is preloaded, the hook is installed in every session; otherwise the
 * event trigger mixpeek_on_ddl_start loads the library in time.  Warnings are left to
 * the event trigger mixpeek_on_create_trigger (see event_triggers.c), so that
 * each is given once.
 *
 * The same hook refuses triggers, rules and foreign keys on the extension's own
 * tables, since the code that writes to these tables would not run them, and a new name
 * for the extension's schema.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "base/bounds.h"
#include "base/extension.h"
#include "catalog/indexing.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_trigger.h"
#include "entry/object_checks.h"
#include "mirror/filter.h"
#include "mirror/mirror.h"
#include "mirror/template_spelling.h"
#include "mirror/trigger_definition.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

static object_access_hook_type prev_object_access = NULL;

/*
 * Mirrors
 */

/* Check whether an update of the column fires the trigger. */
static bool
fires_for_column(const TriggerDefinition *definition, AttrNumber attnum)
{
	for (int i = 0; i < definition->ncolumns; i++)
	{
		if (definition->columns[i] == attnum)
			return true;
	}
	return definition->ncolumns == 0;
}

/* Warn of columns of the key or the document that the trigger's UPDATE OF leaves out. */
static void
warn_of_update_of(Relation rel, const TriggerDefinition *definition, const Mirror *mirror)
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

/* Raise an error unless mirror_row() can handle the trigger's timing and events. */
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
check_mirror_count(Relation rel, const TriggerDefinition *definition)
{
	if (trigger_definition_count(definition->relation, definition->function,
								 TRIGGER_FOR_ROW(definition->type)) > MAX_MIRRORS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("table \"%s\" has more than %d mirrors", RelationGetRelationName(rel), MAX_MIRRORS)));
}

/* Warn of mistakes that do not keep the mirror from working. */
static void
warn_of_mistakes(Relation rel, const TriggerDefinition *definition, const Mirror *mirror)
{
	const char *document = mirror->arguments.document;

	if (document)
		template_warn_of_misspellings(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(document))));
	if (TRIGGER_FOR_UPDATE(definition->type))
		warn_of_update_of(rel, definition, mirror);
}

/* Raise what is wrong with a filter; with warn, warn of what may be. */
static void
check_filter(Relation rel, const char *filter, bool warn)
{
	if (!filter_check(rel, filter) && warn)
		ereport(WARNING,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("a row of table \"%s\" may begin or cease to match the filter without being changed",
						RelationGetRelationName(rel)),
				 errdetail("The filter calls a function that is not immutable."),
				 errhint("Call mixpeek.resync() to have all rows checked again.")));
}

/*
 * Raise what is wrong with a mirror's arguments.  What can be mended without creating the trigger
 * again, a missing key, is a WARNING, and mixpeek.mirrors.problem shows it.  While a dump is
 * restored, for which pg_dump sets check_function_bodies = off, the same holds for mistakes of
 * template and filter: what they use may be restored later.
 */
static void
check_mirror(const TriggerDefinition *definition, bool warn)
{
	Relation	rel = table_open(definition->relation, AccessShareLock);
	bool		is_restored = !check_function_bodies;
	MirrorArguments arguments = {0};
	Mirror	   *mirror;

	mirror_check_owner(definition->relation);
	check_events(definition->type);
	check_mirror_count(rel, definition);
	arguments_decode(&arguments, definition->nargs, definition->args);
	mirror = mirror_compile(rel, definition->nargs, definition->args, definition->when,
							CurrentMemoryContext, is_restored ? MIRROR_RAISE_NOTHING : MIRROR_RAISE_DEFINITION);
	if (mirror->arguments.filter && !is_restored)
		check_filter(rel, mirror->arguments.filter, warn);
	if (warn && mirror->problem)
		ereport(WARNING,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("table \"%s\" cannot be mirrored yet: %s", RelationGetRelationName(rel), mirror->problem)));
	else if (warn)
		warn_of_mistakes(rel, definition, mirror);
	mirror_free(mirror);
	table_close(rel, AccessShareLock);
}

/* Raise an error if the table is one of the extension's. */
static void
refuse_on_own_table(Oid relation, const char *what)
{
	if (extension_has_table(relation))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" of extension \"%s\" cannot have %s",
						get_rel_name(relation), EXTENSION_NAME, what),
				 errdetail("The extension writes to the table without running triggers, checking foreign keys or applying rules.")));
}

/* Check a trigger.  A partition's clone needs no check: its original was checked. */
static void
check_trigger(Oid trigger, bool warn)
{
	TriggerDefinition *definition = trigger_definition_read(trigger, SnapshotSelf);

	if (definition == NULL)
		return;
	refuse_on_own_table(definition->relation, "triggers");
	if (definition->function == mirror_function() && !OidIsValid(definition->parent))
		check_mirror(definition, warn);
}

/*
 * Objects of the extension
 */

/* Call function with the tuple of a catalog that has this oid, as the running command sees it. */
static void
call_with_tuple(Oid catalog, Oid index, AttrNumber column, Oid oid, void (*function) (HeapTuple tuple))
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
check_rule_table(HeapTuple tuple)
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
		call_with_tuple(NamespaceRelationId, NamespaceOidIndexId, Anum_pg_namespace_oid, schema, check_schema_name);
}

void
object_checks_apply(Oid class_id, Oid object_id, bool warn)
{
	if (class_id == TriggerRelationId)
		check_trigger(object_id, warn);
	else if (class_id == RewriteRelationId)
		call_with_tuple(RewriteRelationId, RewriteOidIndexId, Anum_pg_rewrite_oid, object_id, check_rule_table);
	else if (class_id == NamespaceRelationId)
		check_schema(object_id);
}

/*
 * Check each object that is created, and each schema that is altered.  Internal objects
 * are not left out: triggers of constraints are internal, too.
 */
static void
check_accessed_object(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class_id, object_id, sub_id, arg);
	if (access == OAT_POST_CREATE ||
		(access == OAT_POST_ALTER && class_id == NamespaceRelationId))
		object_checks_apply(class_id, object_id, false);
}

void
object_checks_init(void)
{
	if (IsBinaryUpgrade)
		return;
	prev_object_access = object_access_hook;
	object_access_hook = check_accessed_object;
}
