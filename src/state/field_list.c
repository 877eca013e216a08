/*-------------------------------------------------------------------------
 *
 * field_list.c
 *		Lists of root-level fields of documents.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "state/field_list.h"

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
