/*-------------------------------------------------------------------------
 *
 * blockset.h
 *		Where in mixpeek.outbox there may be something to look at.
 *		Pure, of a fixed size, and never too small: ranges grow together.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_BLOCKSET_H
#define MIXPEEK_BLOCKSET_H

#include "storage/itemptr.h"

#define BLOCKSET_RANGES	32

typedef struct BlockRange
{
	BlockNumber first;
	BlockNumber last;
} BlockRange;

/* Ranges that do not touch, in ascending order; all zeros is an empty set. */
typedef struct BlockSet
{
	int			n;
	OffsetNumber passed;		/* up to this one the first block of all is
								 * done */
	BlockRange	ranges[BLOCKSET_RANGES];
} BlockSet;

/* Puts a range in.  Where there are too many, the two that are closest become one. */
extern void blockset_add(BlockSet *set, BlockNumber first, BlockNumber last);
extern void blockset_add_all(BlockSet *set, const BlockSet *other);

/* Puts the whole table in. */
extern void blockset_add_table(BlockSet *set);

/* The number of blocks in it. */
extern uint64 blockset_size(const BlockSet *set);

/* What is behind position, which lies in the first range, is what is left of that. */
extern void blockset_pass(BlockSet *set, ItemPointer position);

/* Takes the blocks before block out of the first range. */
extern void blockset_pass_blocks(BlockSet *set, BlockNumber block);

#endif							/* MIXPEEK_BLOCKSET_H */
