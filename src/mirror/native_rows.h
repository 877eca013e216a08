/*-------------------------------------------------------------------------
 *
 * native_rows.h
 *		Rows of mirrored tables, read by PostgreSQL's own code and no other.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_NATIVE_ROWS_H
#define MIXPEEK_NATIVE_ROWS_H

#include "mirror/mirror.h"

/*
 * What source_table_read_rows() and source_table_scan_keys() do, for a native mirror.  The caller
 * holds a RowExclusiveLock on the table.  False if somebody has locked a partition,
 * so that nothing was read: later.
 */
extern bool native_rows_read(Mirror *mirror, char *const *keys, int nkeys,
							 MirrorRowFunction function, void *arg);
extern bool native_rows_scan_keys(Mirror *mirror, const char *after, int limit, List **keys);

#endif							/* MIXPEEK_NATIVE_ROWS_H */
