/*-------------------------------------------------------------------------
 *
 * field_list.c
 *		Lists of root-level fields of documents.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "catalog/pg_type.h"
#include "state/field_list.h"
#include "utils/array.h"
#include "utils/builtins.h"

List *
field_list_of_array(Datum array)
{
	List	   *fields = NIL;
	Datum	   *names;
	bool	   *nulls;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			fields = lappend(fields, TextDatumGetCString(names[i]));
	}
	return fields;
}

Datum
field_list_to_array(const List *fields)
{
	Datum	   *names = palloc(sizeof(Datum) * list_length(fields));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, fields)
		names[n++] = CStringGetTextDatum(lfirst(lc));
	return PointerGetDatum(construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT));
}

bool
field_list_has(const List *fields, const char *name)
{
	ListCell   *lc;

	foreach(lc, fields)
	{
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	}
	return false;
}

List *
field_list_select(const List *a, const List *b, bool in)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, a)
	{
		if (field_list_has(b, lfirst(lc)) == in)
			result = lappend(result, pstrdup(lfirst(lc)));
	}
	return result;
}

List *
field_list_union(const List *a, const List *b)
{
	return list_concat(field_list_select(a, NIL, false), field_list_select(b, a, false));
}
