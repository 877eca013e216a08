/*-------------------------------------------------------------------------
 *
 * extension.c
 *		The extension's own objects, found among its members.
 *
 * A schema can be renamed, and then any user who may create schemas can create
 * another one of the same name.  Therefore the objects that are used with a
 * superuser's rights are looked up in pg_depend, as members of the extension.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "base/extension.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "commands/extension.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

static const struct
{
	Oid			class_id;
	const char *name;
}			objects[EXTENSION_OBJECTS] =

{
	[EXTENSION_OUTBOX] = {RelationRelationId, "outbox"},
	[EXTENSION_DOCUMENTS] = {RelationRelationId, "documents"},
	[EXTENSION_ORIGIN] = {RelationRelationId, "origin"},
	[EXTENSION_FORGOTTEN] = {RelationRelationId, "forgotten"},
	[EXTENSION_KEYS] = {RelationRelationId, "keys"},
	[EXTENSION_MIRROR_ROW] = {ProcedureRelationId, "mirror_row"},
	[EXTENSION_FDW_VALIDATOR] = {ProcedureRelationId, "fdw_validator"},
};

/* The result of the last look-up, and the number of catalog changes that had been seen by then. */
static struct
{
	uint64		changes;		/* 0: callbacks are not registered */
	uint64		looked_up_at;	/* 0: never */
	Oid			schema;
	Oid			oids[EXTENSION_OBJECTS];
}			known;

static void
on_syscache_change(Datum arg, int cacheid, uint32 hash)
{
	known.changes++;
}

/* If a table was not found, any table may be the missing one. */
static void
on_relcache_change(Datum arg, Oid relation)
{
	if (relation == InvalidOid || known.looked_up_at == 0 || extension_is_damaged())
	{
		known.changes++;
		return;
	}
	for (int i = 0; i < EXTENSION_OBJECTS; i++)
	{
		if (known.oids[i] == relation && objects[i].class_id == RelationRelationId)
			known.changes++;
	}
}

static char *
get_object_name(Oid class_id, Oid oid)
{
	return class_id == RelationRelationId ? get_rel_name(oid) : get_func_name(oid);
}

static void
note_member(Oid class_id, Oid oid)
{
	if (class_id == NamespaceRelationId)
		known.schema = oid;
	if (class_id != RelationRelationId && class_id != ProcedureRelationId)
		return;
	for (int i = 0; i < EXTENSION_OBJECTS; i++)
	{
		char	   *name;

		if (objects[i].class_id != class_id || OidIsValid(known.oids[i]))
			continue;
		name = get_object_name(class_id, oid);
		if (name && strcmp(name, objects[i].name) == 0)
			known.oids[i] = oid;
		if (name)
			pfree(name);
	}
}

static void
look_up_members(void)
{
	Oid			extension = get_extension_oid(EXTENSION_NAME, true);
	Relation	pg_depend;
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	known.schema = InvalidOid;
	memset(known.oids, 0, sizeof(known.oids));
	if (!OidIsValid(extension))
		return;
	pg_depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(ExtensionRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(extension));
	scan = systable_beginscan(pg_depend, DependReferenceIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);

		if (depend->deptype == DEPENDENCY_EXTENSION)
			note_member(depend->classid, depend->objid);
	}
	systable_endscan(scan);
	table_close(pg_depend, AccessShareLock);
}

static void
look_up_if_changed(void)
{
	if (known.changes == 0)
	{
		CacheRegisterSyscacheCallback(PROCNAMEARGSNSP, on_syscache_change, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, on_syscache_change, (Datum) 0);
		CacheRegisterRelcacheCallback(on_relcache_change, (Datum) 0);
		known.changes = 1;
	}
	while (known.looked_up_at != known.changes)
	{
		uint64		now = known.changes;

		known.looked_up_at = 0; /* stays so after an error */
		look_up_members();
		known.looked_up_at = now;
	}
}

Oid
extension_object(ExtensionObject object)
{
	look_up_if_changed();
	return known.oids[object];
}

Oid
extension_schema(void)
{
	look_up_if_changed();
	return known.schema;
}

bool
extension_is_damaged(void)
{
	int			found = 0;

	if (known.looked_up_at == 0)
		return false;
	for (int i = 0; i < EXTENSION_OBJECTS; i++)
	{
		if (OidIsValid(known.oids[i]))
			found++;
	}
	return found > 0 && found < EXTENSION_OBJECTS;
}

bool
extension_has_table(Oid relation)
{
	look_up_if_changed();
	for (int i = 0; i < EXTENSION_OBJECTS; i++)
	{
		if (objects[i].class_id == RelationRelationId && known.oids[i] == relation)
			return OidIsValid(relation);
	}
	return false;
}

bool
extension_owns(const char *name, Oid class_id, Oid object_id)
{
	Oid			extension = getExtensionOfObject(class_id, object_id);

	return OidIsValid(extension) && extension == get_extension_oid(name, true);
}

bool
extension_has_member(Oid class_id, Oid object_id)
{
	return extension_owns(EXTENSION_NAME, class_id, object_id);
}

void
extension_check_schema(void)
{
	Oid			schema = extension_schema();
	char	   *name;

	if (OidIsValid(schema) && get_namespace_oid(EXTENSION_SCHEMA, true) == schema)
		return;
	if (!OidIsValid(schema))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"%s\" does not exist", EXTENSION_NAME)));
	name = get_namespace_name(schema);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_SCHEMA_NAME),
			 errmsg("the schema of extension \"%s\" has another name than \"%s\"",
					EXTENSION_NAME, EXTENSION_SCHEMA),
			 errhint("Run ALTER SCHEMA %s RENAME TO %s.", name ? quote_identifier(name) : "...", EXTENSION_SCHEMA)));
}
