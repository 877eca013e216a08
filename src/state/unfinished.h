/*-------------------------------------------------------------------------
 *
 * unfinished.h
 *		Unfinished records of mixpeek.documents, for sessions that wait for their end.
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
	TimestampTz mirrored_at;	/* DT_NOBEGIN: never */
} UnfinishedKey;

/*
 * Read the next *limit records that have a next_attempt_at of *position or later, and append the pending
 * ones to *keys, in the given memory context.  Returns false if there are no more.  Otherwise moves
 * *position, and raises *limit if all these records have the same time.  Must be called in a
 * transaction, as the next function.
 */
extern bool unfinished_collect(TimestampTz *position, int *limit, List **keys, MemoryContext context);

/* Check whether one of n keys of the list is still unfinished, without having been mirrored in between. */
extern bool unfinished_still(const List *keys, int first, int n);

#endif							/* MIXPEEK_UNFINISHED_H */
