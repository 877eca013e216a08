/*-------------------------------------------------------------------------
 *
 * key_definition.c
 *		What the texts of a table's keys mean: the columns of the key and their types.
 *
 * Names of columns and types are not part of it, because no text depends on them.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_range.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mirror/key_definition.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* Add the labels of an enum to a definition. */
static List *
add_labels(List *definition, Oid type)
{
	Relation	pg_enum = table_open(EnumRelationId, AccessShareLock);
	ScanKeyData condition;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&condition, Anum_pg_enum_enumtypid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(type));
	scan = systable_beginscan(pg_enum, EnumTypIdLabelIndexId, true, NULL, 1, &condition);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_enum label = (Form_pg_enum) GETSTRUCT(tuple);

		definition = lappend(definition, psprintf("%u %u %s", type, label->oid, NameStr(label->enumlabel)));
	}
	systable_endscan(scan);
	table_close(pg_enum, AccessShareLock);
	return definition;
}

static List *describe_type(StringInfo columns, List *definition, Oid declared_type, int32 typmod);

/* Describe the columns of a composite type. */
static List *
describe_row_type(StringInfo columns, List *definition, Oid type)
{
	Relation	rel = relation_open(get_typ_typrelid(type), AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped)
			definition = describe_type(columns, definition, att->atttypid, att->atttypmod);
	}
	relation_close(rel, AccessShareLock);
	return definition;
}

/* Append a type to columns, and add the labels of enums that it consists of to the definition. */
static List *
describe_type(StringInfo columns, List *definition, Oid declared_type, int32 typmod)
{
	Oid			type = getBaseTypeAndTypmod(declared_type, &typmod);
	char		kind = get_typtype(type);

	check_stack_depth();
	appendStringInfo(columns, "(%u %d", type, typmod);
	if (OidIsValid(get_element_type(type)))
		definition = describe_type(columns, definition, get_element_type(type), typmod);
	else if (kind == TYPTYPE_ENUM)
		definition = add_labels(definition, type);
	else if (kind == TYPTYPE_COMPOSITE)
		definition = describe_row_type(columns, definition, type);
	else if (kind == TYPTYPE_RANGE)
		definition = describe_type(columns, definition, get_range_subtype(type), -1);
	else if (kind == TYPTYPE_MULTIRANGE)
		definition = describe_type(columns, definition, get_multirange_range(type), -1);
	appendStringInfoChar(columns, ')');
	return definition;
}

List *
key_definition(const Key *key)
{
	StringInfoData columns;
	List	   *labels = NIL;

	initStringInfo(&columns);
	for (int i = 0; i < key->ncolumns; i++)
	{
		appendStringInfo(&columns, "%s%d ", i ? " " : "", key->columns[i].attnum);
		labels = describe_type(&columns, labels, key->columns[i].type, key->columns[i].typmod);
	}
	return lcons(columns.data, labels);
}
