/*-------------------------------------------------------------------------
 *
 * function_arguments.c
 *		Arguments of SQL functions.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/bounds.h"
#include "entry/function_arguments.h"
#include "utils/builtins.h"

void
function_argument_check(FunctionCallInfo fcinfo, int i, const char *name)
{
	if (PG_ARGISNULL(i))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}

char *
function_argument_text(FunctionCallInfo fcinfo, int i, const char *name, int max_length)
{
	text	   *value;

	if (PG_ARGISNULL(i))
		return NULL;
	value = PG_GETARG_TEXT_PP(i);
	if (VARSIZE_ANY_EXHDR(value) > max_length)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s has %d bytes, more than %d", name, (int) VARSIZE_ANY_EXHDR(value), max_length)));
	return text_to_cstring(value);
}

char *
function_argument_collection(FunctionCallInfo fcinfo, int i)
{
	return function_argument_text(fcinfo, i, "collection", MAX_COLLECTION);
}
