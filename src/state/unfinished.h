/*-------------------------------------------------------------------------
 *
 * unfinished.h
 *		Pending records of mixpeek.documents, for those who wait until they are not.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_UNFINISHED_H
#define MIXPEEK_UNFINISHED_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

typedef struct UnfinishedKey
{
	Oid			relation;
	char	   *collection;
	char	   *key;
	TimestampTz mirrored_at;	/* DT_NOBEGIN: never was */
} UnfinishedKey;

/*
 * Appends those among the next records that have a time, *limit of them from *position on, to *keys, in the
 * memory context given.  False if that was all; else moves the position, and raises
 * the limit where that would not do.  In a transaction, as are the others.
 */
extern bool unfinished_collect(TimestampTz *position, int *limit, List **keys, MemoryContext context);

/* Of n keys of the list: is one of them as unfinished as it was? */
extern bool unfinished_still(const List *keys, int first, int n);

#endif							/* MIXPEEK_UNFINISHED_H */
