/*-------------------------------------------------------------------------
 *
 * rows.h
 *		Rows of mirrored tables, read by PostgreSQL's own code and no other.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_ROWS_H
#define MIXPEEK_ROWS_H

#include "mirror.h"

/*
 * Can the mirror's rows be read without a call of any function that somebody has
 * made?  The answer holds for as long as the caller's lock on rel does, and the
 * mirror was compiled under it.
 */
extern bool rows_are_native(Relation rel, const Mirror *mirror);

/*
 * What mirror_read_rows() and mirror_scan_keys() do, for a native mirror.  The caller
 * holds a RowExclusiveLock on the table.
 */
extern void rows_read(Mirror *mirror, char *const *keys, int nkeys,
					  MirrorRowFunction function, void *arg);
extern List *rows_scan_keys(Mirror *mirror, const char *after, int limit);

#endif							/* MIXPEEK_ROWS_H */
