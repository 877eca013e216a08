/*-------------------------------------------------------------------------
 *
 * key_function.c
 *		mixpeek.document_key(): the key of a row as mixpeek.documents has it.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "mirror/key.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(mixpeek_document_key);

/* How values of a type become keys; kept for the calls of one expression. */
typedef struct KeyOfType
{
	Oid			type;
	int32		typmod;			/* of an anonymous row type */
	Key		   *key;
	bool		is_row;			/* the key's columns are columns of the value;
								 * else the key is the value */
} KeyOfType;

/* Return the key of the table that a row type belongs to; NULL if the type belongs to no table. */
static Key *
key_of_table_type(Oid type)
{
	Oid			table = get_typ_typrelid(type);
	char		kind = OidIsValid(table) ? get_rel_relkind(table) : '\0';
	Relation	rel;
	Key		   *key;

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		return NULL;
	rel = relation_open(table, AccessShareLock);
	key = key_of_relation(rel);
	if (key == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has no primary key", RelationGetRelationName(rel)),
				 errhint("Add a primary key, or set a replica identity index.")));
	relation_close(rel, AccessShareLock);
	return key;
}

/* Return the key whose columns are all columns of an anonymous row type. */
static Key *
key_of_record(Oid type, int32 typmod)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(type, typmod);
	AttrNumber	attnums[INDEX_MAX_KEYS];
	Oid			types[INDEX_MAX_KEYS];
	int32		typmods[INDEX_MAX_KEYS];
	int			n = desc->natts;

	if (n > INDEX_MAX_KEYS)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_COLUMNS),
				 errmsg("a key cannot have more than %d columns", INDEX_MAX_KEYS)));
	for (int i = 0; i < n; i++)
	{
		attnums[i] = i + 1;
		types[i] = TupleDescAttr(desc, i)->atttypid;
		typmods[i] = TupleDescAttr(desc, i)->atttypmod;
	}
	ReleaseTupleDesc(desc);
	return key_of_types(n, attnums, types, typmods);
}

/* Return the conversion for a value, kept in the function's memory. */
static KeyOfType *
find_conversion(FunctionCallInfo fcinfo, Oid type, HeapTupleHeader row)
{
	KeyOfType  *kept = fcinfo->flinfo->fn_extra;
	Oid			row_type = row ? HeapTupleHeaderGetTypeId(row) : type;
	int32		typmod = row ? HeapTupleHeaderGetTypMod(row) : -1;
	AttrNumber	attnum = 1;
	MemoryContext old;

	if (kept && kept->type == row_type && kept->typmod == typmod)
		return kept;
	old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	kept = palloc0(sizeof(KeyOfType));
	if (row)
		kept->key = row_type == RECORDOID ? key_of_record(row_type, typmod) : key_of_table_type(row_type);
	kept->is_row = kept->key != NULL;
	if (kept->key == NULL)
		kept->key = key_of_types(1, &attnum, &type, &typmod);
	kept->type = row_type;
	kept->typmod = typmod;
	fcinfo->flinfo->fn_extra = kept;
	MemoryContextSwitchTo(old);
	return kept;
}

/* Return the text of the key columns of a row; NULL if one of them is null. */
static char *
key_of_row(const Key *key, HeapTupleHeader row)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(row), HeapTupleHeaderGetTypMod(row));
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(row),.t_data = row};
	Datum		values[INDEX_MAX_KEYS];
	bool		isnull = false;
	char	   *text;

	for (int i = 0; i < key->ncolumns && !isnull; i++)
		values[i] = heap_getattr(&tuple, key->columns[i].attnum, desc, &isnull);
	text = isnull ? NULL : key_to_text(key, values);
	ReleaseTupleDesc(desc);
	return text;
}

/*
 * document_key(value anyelement): return the key under which mixpeek.documents has a row.  The
 * value is the row of a table with a key, or the value of a key of one column, or an anonymous
 * row of the values of a key of several columns.  Returns NULL if a column of the key is null.
 * Raises ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if the table has no key.
 */
Datum
mixpeek_document_key(PG_FUNCTION_ARGS)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	HeapTupleHeader row = type_is_rowtype(type) ? PG_GETARG_HEAPTUPLEHEADER(0) : NULL;
	Datum		value = PG_GETARG_DATUM(0);
	KeyOfType  *conversion = find_conversion(fcinfo, type, row);
	char	   *text = conversion->is_row ? key_of_row(conversion->key, row) : key_to_text(conversion->key, &value);

	if (text == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(key_abbreviate(text)));
}
