/*-------------------------------------------------------------------------
 *
 * marker.c
 *		The marker: the field of a document that says which row it is of.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "remote/marker.h"

char *
marker_prefix(const char *origin, const char *table)
{
	return psprintf("%s:%s:", origin, table);
}

/* This runs once for each row that is read. */
char *
marker_of_key(const char *prefix, const char *key)
{
	size_t		prefix_len = strlen(prefix);
	size_t		key_size = strlen(key) + 1;
	char	   *marker = palloc(prefix_len + key_size);

	memcpy(marker, prefix, prefix_len);
	memcpy(marker + prefix_len, key, key_size);
	return marker;
}

bool
marker_is_ours(const char *marker, const char *origin)
{
	return strncmp(marker, origin, strlen(origin)) == 0;
}
