/*-------------------------------------------------------------------------
 *
 * encoding.c
 *		Texts of the database in UTF-8.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xact.h"
#include "base/encoding.h"
#include "common/string.h"
#include "mb/pg_wchar.h"

static char *
convert(const char *text)
{
	char	   *utf8 = pg_server_to_any(text, strlen(text), PG_UTF8);

	return utf8 == text ? pstrdup(text) : utf8;
}

char *
encoding_to_utf8(const char *text)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *utf8;

	if (GetDatabaseEncoding() == PG_UTF8 || pg_is_ascii(text))
		return pstrdup(text);
	if (IsTransactionState())
		return convert(text);
	StartTransactionCommand();
	MemoryContextSwitchTo(context);
	utf8 = convert(text);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return utf8;
}
