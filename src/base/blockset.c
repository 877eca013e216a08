/*-------------------------------------------------------------------------
 *
 * blockset.c
 *		A set of blocks of mixpeek.outbox that may have entries to be claimed.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/blockset.h"

static void
remove_range(BlockRange *ranges, int *n, int i)
{
	memmove(&ranges[i], &ranges[i + 1], sizeof(BlockRange) * (*n - i - 1));
	(*n)--;
}

/* Join the two neighboring ranges with the fewest blocks between them. */
static void
join_closest(BlockRange *ranges, int *n)
{
	int			closest = 0;

	for (int i = 1; i + 1 < *n; i++)
	{
		if (ranges[i + 1].first - ranges[i].last < ranges[closest + 1].first - ranges[closest].last)
			closest = i;
	}
	ranges[closest].last = ranges[closest + 1].last;
	remove_range(ranges, n, closest + 1);
}

void
blockset_add(BlockSet *set, BlockNumber first, BlockNumber last)
{
	BlockRange	ranges[BLOCKSET_RANGES + 1];
	int			n = set->n;
	int			i = 0;

	while (i < n && set->ranges[i].last < first)
		i++;
	if (i < n && set->ranges[i].first <= first && set->ranges[i].last >= last && (i > 0 || set->passed == 0))
		return;					/* the usual case: it has them all */
	if (set->passed != 0 && first <= set->ranges[0].first)
		set->passed = 0;
	if (i > 0 && set->ranges[i - 1].last + 1 == first)
		i--;
	memcpy(ranges, set->ranges, sizeof(BlockRange) * n);
	while (i < n && ranges[i].first <= last + 1)
	{
		first = Min(first, ranges[i].first);
		last = Max(last, ranges[i].last);
		remove_range(ranges, &n, i);
	}
	memmove(&ranges[i + 1], &ranges[i], sizeof(BlockRange) * (n - i));
	ranges[i].first = first;
	ranges[i].last = last;
	if (++n > BLOCKSET_RANGES)
		join_closest(ranges, &n);
	memcpy(set->ranges, ranges, sizeof(BlockRange) * n);
	set->n = n;
}

void
blockset_add_all(BlockSet *set, const BlockSet *other)
{
	for (int i = 0; i < other->n; i++)
		blockset_add(set, other->ranges[i].first, other->ranges[i].last);
}

void
blockset_add_table(BlockSet *set)
{
	blockset_add(set, 0, MaxBlockNumber);
}

uint64
blockset_size(const BlockSet *set)
{
	uint64		size = 0;

	for (int i = 0; i < set->n; i++)
		size += (uint64) set->ranges[i].last - set->ranges[i].first + 1;
	return size;
}

void
blockset_pass(BlockSet *set, ItemPointer position)
{
	set->ranges[0].first = ItemPointerGetBlockNumberNoCheck(position);
	set->passed = ItemPointerGetOffsetNumberNoCheck(position);
}

void
blockset_pass_blocks(BlockSet *set, BlockNumber block)
{
	set->passed = 0;
	if (block > set->ranges[0].last)
		remove_range(set->ranges, &set->n, 0);
	else
		set->ranges[0].first = block;
}
