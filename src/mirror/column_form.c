/*-------------------------------------------------------------------------
 *
 * column_form.c
 *		How the values of a column become JSON.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "mirror/column_form.h"
#include "remote/contract.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* Check whether it is a vector type of pgvector, whose output is a JSON array. */
static bool
is_vector_type(Oid type)
{
	char	   *name;

	if (type < FirstNormalObjectId)
		return false;
	name = format_type_extended(type, -1, FORMAT_TYPE_ALLOW_INVALID);
	if (strrchr(name, '.'))
		name = strrchr(name, '.') + 1;
	return strcmp(name, "vector") == 0 || strcmp(name, "halfvec") == 0;
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
