/*-------------------------------------------------------------------------
 *
 * native.c
 *		Which mirrors can be read without calling code of users.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "mirror/native.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* Each key is searched for in one partition after the other, so there must not be many. */
#define MAX_PARTITIONS	256

/* Check whether an object was created by initdb: no user can create one with such an oid. */
static bool
is_pinned(Oid object)
{
	return OidIsValid(object) && object < COMPAT_FIRST_UNPINNED_OID;
}

/*
 * Check for a base or range type that was created by initdb, or an array of one.  Their
 * output functions and to_json() call built-in functions only.
 */
static bool
is_native_type(Oid type)
{
	Oid			base = getBaseType(type);
	Oid			element = get_element_type(base);
	char		typtype;

	check_stack_depth();
	if (OidIsValid(element))
		return is_native_type(element);
	typtype = get_typtype(base);
	return is_pinned(base) &&
		(typtype == TYPTYPE_BASE || typtype == TYPTYPE_RANGE || typtype == TYPTYPE_MULTIRANGE);
}

/* Check whether a type has a cast to json, which to_json() would call.  See make_json() for enums. */
static bool
has_cast_to_json(Oid type)
{
	return SearchSysCacheExists2(CASTSOURCETARGET, ObjectIdGetDatum(type), ObjectIdGetDatum(JSONOID));
}

Oid
native_enum(Oid type)
{
	Oid			base = getBaseType(type);
	Oid			element = get_element_type(base);

	if (OidIsValid(element))
		base = getBaseType(element);
	return get_typtype(base) == TYPTYPE_ENUM ? base : InvalidOid;
}

/* Check whether a column can be read and rendered in this form. */
static bool
is_native_column(Form_pg_attribute att, ColumnForm form)
{
	Oid			enumeration = native_enum(att->atttypid);

	if (COMPAT_IS_VIRTUAL_COLUMN(att))
		return false;
	if (OidIsValid(enumeration))
		return form != COLUMN_JSON || !has_cast_to_json(enumeration);
	return is_native_type(att->atttypid);
}

/*
 * Check whether a key column can be read, and its values parsed from text.  Parsing leaves
 * out the checks of a domain, but not those of an array's elements.
 */
static bool
is_native_key_column(Form_pg_attribute att)
{
	Oid			element = get_element_type(getBaseType(att->atttypid));

	return is_native_column(att, COLUMN_NATIVE) &&
		!(OidIsValid(element) && get_typtype(element) == TYPTYPE_DOMAIN);
}

Form_pg_attribute
native_attribute(Relation rel, AttrNumber attnum, Oid type)
{
	Form_pg_attribute att;

	if (attnum <= 0 || attnum > RelationGetNumberOfAttributes(rel))
		return NULL;
	att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	return att->attisdropped || getBaseType(att->atttypid) != type ? NULL : att;
}

/* Check that an index calls built-in functions only, and is in ascending order. */
static bool
is_native_index(Relation index)
{
	for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index); i++)
	{
		if (!is_pinned(index->rd_opfamily[i]) || !is_pinned(index_getprocid(index, i + 1, BTORDER_PROC)) ||
			(index->rd_indoption[i] & INDOPTION_DESC))
			return false;
	}
	return RelationGetIndexPredicate(index) == NIL && RelationGetIndexExpressions(index) == NIL;
}

bool
native_index(Relation rel, Relation index, const Key *key, const AttrNumber *attnums)
{
	if (index->rd_index->indrelid != RelationGetRelid(rel) || index->rd_rel->relam != BTREE_AM_OID ||
		!index->rd_index->indisunique || index->rd_index->indnkeyatts != key->ncolumns)
		return false;
	for (int i = 0; i < key->ncolumns; i++)
	{
		if (index->rd_index->indkey.values[i] != attnums[i] ||
			get_opfamily_member(index->rd_opfamily[i], index->rd_opcintype[i],
								index->rd_opcintype[i], BTEqualStrategyNumber) != key->columns[i].equals)
			return false;
	}
	return is_native_index(index);
}

static bool
has_native_key(Relation rel, const Key *key)
{
	Relation	index = index_open(key->index, AccessShareLock);
	AttrNumber	attnums[INDEX_MAX_KEYS];
	bool		native;

	for (int i = 0; i < key->ncolumns; i++)
		attnums[i] = key->columns[i].attnum;
	native = native_index(rel, index, key, attnums);
	for (int i = 0; i < key->ncolumns && native; i++)
	{
		const KeyColumn *column = &key->columns[i];
		Form_pg_attribute att = native_attribute(rel, column->attnum, column->type);

		native = att && is_native_key_column(att) &&
			is_pinned(get_opcode(column->equals)) && is_pinned(get_opcode(column->greater));
	}
	index_close(index, NoLock);
	return native;
}

static bool
has_native_columns(Relation rel, const Template *template)
{
	ListCell   *lc;

	foreach(lc, template->columns)
	{
		const TemplateColumn *column = lfirst(lc);
		Form_pg_attribute att = native_attribute(rel, column->attnum, column->type);

		if (att == NULL || !is_native_column(att, column->form))
			return false;
	}
	return true;
}

/* Check whether the owner may read all rows: owners can revoke their own rights, or force policies on themselves. */
static bool
owner_reads_all(Relation rel)
{
	Oid			owner = rel->rd_rel->relowner;

	return !(rel->rd_rel->relrowsecurity && rel->rd_rel->relforcerowsecurity) &&
		pg_class_aclcheck(RelationGetRelid(rel), owner, ACL_SELECT) == ACLCHECK_OK &&
		COMPAT_SCHEMA_ACLCHECK(RelationGetNamespace(rel), owner, ACL_USAGE) == ACLCHECK_OK;
}

bool
native_storage(Relation rel)
{
	return rel->rd_rel->relkind == RELKIND_RELATION && is_pinned(rel->rd_rel->relam);
}

/* Check that all partitions are tables, and not too many. */
static bool
has_native_partitions(Relation rel)
{
	List	   *tables = find_all_inheritors(RelationGetRelid(rel), NoLock, NULL);
	ListCell   *lc;

	if (list_length(tables) > MAX_PARTITIONS)
		return false;
	foreach(lc, tables)
	{
		char		kind = get_rel_relkind(lfirst_oid(lc));

		if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
			return false;
	}
	return true;
}

bool
native_can_read(Relation rel, const Mirror *mirror)
{
	if (mirror->key == NULL)
		return true;			/* without a key no row is read */
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ? !has_native_partitions(rel) : !native_storage(rel))
		return false;
	if (mirror->arguments.filter)
		return false;
	return rel->rd_rel->relowner == mirror->owner && owner_reads_all(rel) && has_native_key(rel, mirror->key) &&
		(mirror->template == NULL || has_native_columns(rel, mirror->template));
}
