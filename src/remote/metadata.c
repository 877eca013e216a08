/*-------------------------------------------------------------------------
 *
 * metadata.c
 *		The metadata of a document in an answer, beside those that were sent.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "lib/stringinfo.h"
#include "remote/metadata.h"

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

/* Return a JSON string's value, palloc'd. */
static char *
decode_name(const JsonText *string)
{
	StringInfoData name;
	const char *p = string->start + 1;
	size_t		length = string->end - string->start - 2;

	if (memchr(p, '\\', length) == NULL)
		return pnstrdup(p, length);
	initStringInfo(&name);
	while (p < string->end - 1)
	{
		unsigned char bytes[5];

		if (*p != '\\')
		{
			appendStringInfoChar(&name, *p++);
			continue;
		}
		p = scan_escape(p, bytes);
		appendStringInfoString(&name, (char *) bytes);
	}
	return name.data;
}

/* Return the names in an object, sorted, and their number; without those that are null, unless nulls is set. */
static char **
read_names(const char *object, bool nulls, int *n)
{
	JsonItems	items;
	int			size = 16;
	char	  **names = palloc(sizeof(char *) * size);

	*n = 0;
	if (object == NULL || !scan_items(object, &items) || !items.named)
		return names;
	while (scan_next(&items))
	{
		if (!nulls && *items.value.start == 'n')
			continue;
		if (*n == size)
			names = repalloc(names, sizeof(char *) * (size *= 2));
		names[(*n)++] = decode_name(&items.name);
	}
	qsort(names, *n, sizeof(char *), compare_names);
	return names;
}

List *
metadata_find_extra(const JsonText *answered, const char *sent)
{
	int			nanswered;
	int			nsent;
	char	  **there = read_names(answered->start, false, &nanswered);
	char	  **told = read_names(sent, true, &nsent);
	List	   *extra = NIL;

	for (int i = 0; i < nanswered; i++)
	{
		if (bsearch(&there[i], told, nsent, sizeof(char *), compare_names) == NULL)
			extra = lappend(extra, there[i]);
	}
	return extra;
}
