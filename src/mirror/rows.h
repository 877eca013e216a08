/*-------------------------------------------------------------------------
 *
 * rows.h
 *		Rows of mirrored tables, read by PostgreSQL's own code and no other.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_ROWS_H
#define MIXPEEK_ROWS_H

#include "mirror/mirror.h"

/*
 * What mirror_read_rows() and mirror_scan_keys() do, for a native mirror.  The caller
 * holds a RowExclusiveLock on the table.  False if somebody has locked a partition,
 * so that nothing was read: later.
 */
extern bool rows_read(Mirror *mirror, char *const *keys, int nkeys,
					  MirrorRowFunction function, void *arg);
extern bool rows_scan_keys(Mirror *mirror, const char *after, int limit, List **keys);

#endif							/* MIXPEEK_ROWS_H */
