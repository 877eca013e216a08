/*-------------------------------------------------------------------------
 *
 * column_form.c
 *		How the values of a column become JSON.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "base/extension.h"
#include "catalog/pg_type.h"
#include "mirror/column_form.h"
#include "remote/contract.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/*
 * Check whether it is a type of the extension "vector" (pgvector) whose output is a JSON array.
 * Another type of the same name may have any output.
 */
static bool
is_vector_type(Oid type)
{
	HeapTuple	tuple;
	const char *name;
	bool		named;

	if (type < FirstNormalObjectId)
		return false;
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	if (!HeapTupleIsValid(tuple))
		return false;
	name = NameStr(((Form_pg_type) GETSTRUCT(tuple))->typname);
	named = strcmp(name, "vector") == 0 || strcmp(name, "halfvec") == 0;
	ReleaseSysCache(tuple);
	return named && extension_owns("vector", TypeRelationId, type);
}

ColumnForm
column_form(Oid type)
{
	switch (type)
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case NAMEOID:
		case UUIDOID:
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case JSONBOID:
			return COLUMN_NATIVE;
		default:
			return is_vector_type(type) ? COLUMN_NATIVE : COLUMN_JSON;
	}
}

int
column_json_types(Oid type)
{
	switch (type)
	{
		case BOOLOID:
			return CONTRACT_BOOLEAN;
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return CONTRACT_INTEGER;
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return CONTRACT_NUMBER;
		case JSONOID:
		case JSONBOID:
			return CONTRACT_ANY;
	}
	if (OidIsValid(get_element_type(type)) || is_vector_type(type))
		return CONTRACT_ARRAY;
	return type_is_rowtype(type) ? CONTRACT_OBJECT : CONTRACT_STRING;
}
