/*-------------------------------------------------------------------------
 *
 * blockset.h
 *		A set of blocks of mixpeek.outbox that may have entries to be claimed.
 *
 * A set has a fixed size.  If it would need more ranges than fit, the closest
 * ranges are joined, so a set may have too many blocks butnever too few.
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

/* Ranges that do not touch, in ascending order.  All zeros is an empty set. */
typedef struct BlockSet
{
	int			n;
	OffsetNumber passed;		/* the first range's first block is done up to
								 * this item */
	BlockRange	ranges[BLOCKSET_RANGES];
} BlockSet;

/* Add a range of blocks, or all blocks of another set. */
extern void blockset_add(BlockSet *set, BlockNumber first, BlockNumber last);
extern void blockset_add_all(BlockSet *set, const BlockSet *other);

/* Add all blocks that the table may have. */
extern void blockset_add_table(BlockSet *set);

/* Return the number of blocks. */
extern uint64 blockset_size(const BlockSet *set);

/* Remove everything up to position, which is in the first range. */
extern void blockset_pass(BlockSet *set, ItemPointer position);

/* Remove the blocks before "block" from the first range. */
extern void blockset_pass_blocks(BlockSet *set, BlockNumber block);

#endif							/* MIXPEEK_BLOCKSET_H */
