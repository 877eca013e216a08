/*-------------------------------------------------------------------------
 *
 * part.h
 *		The tables that hold a mirrored table's rows: itself, or its partitions.
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
	Relation	index;			/* the key's */
	TupleTableSlot *slot;
	AttrNumber	key_attnums[INDEX_MAX_KEYS];
	AttrNumber *attnums;		/* of the template's columns */
	AttrNumber	last_attnum;	/* of all these */
} Part;

/*
 * Opens what holds the rows of rel, in the current memory context, as a List of Part.
 * Waits for no lock: false if somebody has one that is in the way; then some
 * may be open.  Raises if it is not what was compiled, or not native.  There must be an
 * active snapshot.
 */
extern bool parts_open(const Mirror *mirror, Relation rel, List **parts);
extern void parts_close(List *parts);

/* Locks the partitions of a table, if it has any, until the transaction's end; false if somebody is in the way. */
extern bool parts_lock(Oid relation);

#endif							/* MIXPEEK_PART_H */
