/*-------------------------------------------------------------------------
 *
 * part.h
 *		Tables that hold a mirrored table's rows: the table itself, or its partitions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_PART_H
#define MIXPEEK_PART_H

#include "executor/tuptable.h"
#include "mirror/mirror.h"

typedef struct Part
{
	Relation	rel;
	Relation	index;			/* of the key */
	TupleTableSlot *slot;
	AttrNumber	key_attnums[INDEX_MAX_KEYS];
	AttrNumber *attnums;		/* of the template's columns */
	AttrNumber	last_attnum;	/* the largest of all these */
} Part;

/*
 * Open the tables that hold the rows of rel, as a List of Part in the current memory
 * context.  Does not wait for locks: returns false if another session holds a conflicting
 * lock; then some parts may be open.  Raises what mirror_raise_changed() does if a part
 * is not what was compiled, or not native.  There must be an active snapshot.
 */
extern bool parts_open(const Mirror *mirror, Relation rel, List **parts);
extern void parts_close(List *parts);

/*
 * Lock the partitions of a table, if it has any, until the transaction's end.  Does not wait:
 * returns false if another session holds a conflicting lock.
 */
extern bool parts_lock(Oid relation);

#endif							/* MIXPEEK_PART_H */
