/*-------------------------------------------------------------------------
 *
 * native_rows.h
 *		Reading rows of mirrored tables without calling code of users.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_NATIVE_ROWS_H
#define MIXPEEK_NATIVE_ROWS_H

#include "mirror/mirror.h"

/*
 * Read rows and scan keys as source_table_read_rows() and source_table_scan_keys() do, for a mirror
 * for which native_can_read() holds.  The caller holds a RowExclusiveLock on the table.
 * Both return false, and have done nothing, if another session has locked a partition.
 */
extern bool native_rows_read(Mirror *mirror, char *const *keys, int nkeys,
							 MirrorRowFunction function, void *arg);
extern bool native_rows_scan_keys(Mirror *mirror, const char *after, int limit, List **keys);

#endif							/* MIXPEEK_NATIVE_ROWS_H */
