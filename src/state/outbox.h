/*-------------------------------------------------------------------------
 *
 * outbox.h
 *		mixpeek.outbox: the keys that are still to be looked at.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_OUTBOX_H
#define MIXPEEK_OUTBOX_H

#include "base/blockset.h"
#include "nodes/pg_list.h"
#include "storage/itemptr.h"
#include "utils/snapshot.h"

/* What an entry says; see the column's comment in the install script. */
#define OUTBOX_INSERT		'I'
#define OUTBOX_UPDATE		'U'
#define OUTBOX_DELETE		'D'
#define OUTBOX_RECHECK			'K'
#define OUTBOX_REFRESH		'R'
#define OUTBOX_ALL_ROWS		'B'
#define OUTBOX_ALL_STORED	'T'

/* Is a text that string? */
static inline bool
outbox_text_is(const text * t, const char *s, int len)
{
	return VARSIZE_ANY_EXHDR(t) == len && memcmp(VARDATA_ANY(t), s, len) == 0;
}

/*
 * Writer's side.  Adds an entry to the transaction's buffer; it reaches the
 * table before the transaction commits or prepares, and goes with it or
 * with its subtransaction if that rolls back.  key may be NULL.
 */
extern void outbox_add(Oid relation, char operation, const char *collection,
					   const char *key);
extern void outbox_init(void);

/* The table; InvalidOid if the extension is gone. */
extern Oid	outbox_relid(void);

/* The transaction put entries in by other ways, nobody knows where: its commit tells the worker that. */
extern void outbox_notify(void);

/* By other ways, but between these places. */
extern void outbox_note_written(ItemPointer first, ItemPointer last);

/* Worker's side; all in a transaction with a snapshot. */
typedef struct OutboxEntry
{
	ItemPointerData tid;
	TransactionId xmin;			/* who wrote it */
	Oid			relation;
	char		operation;
	char	   *collection;
	char	   *key;			/* NULL: from the beginning (B and T) */
} OutboxEntry;

/* Of a mirror's entry in that block: is it to stay where it is?  May not raise. */
typedef bool (*OutboxStays) (void *arg, Oid relation, const text * collection, BlockNumber block);

/* What may be read; goes down as it is. */
typedef struct OutboxRead
{
	OutboxStays stays;			/* NULL: none does */
	void	   *arg;
	int			limit;			/* entries */
	int			blocks;
	size_t		bytes;			/* of texts: goes up */
	Oid			filenode;		/* of the table when it was read the last time */
	bool		moved;			/* its entries are elsewhere now */
} OutboxRead;

/*
 * The entries that stand in the set's blocks, as a List of OutboxEntry in the current
 * memory context, except those that stay.  What was read is taken out of the set.
 */
extern List *outbox_read(OutboxRead *read, BlockSet *set);

/*
 * Removes entries that have been taken up, those that still stand where they were read:
 * somebody may have forgotten them, or have written the table anew.
 */
extern void outbox_remove(const List *entries);

/* A copy in the current memory context. */
extern OutboxEntry *outbox_copy_entry(const OutboxEntry *entry);

/* Removes all visible entries that say the same "all" as this one, which has no key. */
extern void outbox_remove_expansions(const OutboxEntry *entry);

/* Removes all of a table's in one collection or (NULL) in all; reads the whole outbox. */
extern void outbox_forget(Oid relation, const char *collection);

/* Puts keys in at once, or moves a B or T entry's place to key; adds the blocks that they are in. */
extern void outbox_put(Oid relation, char operation, const char *collection,
					   char *const *keys, int nkeys, BlockSet *blocks);

/*
 * Looks from *position on, at so many blocks at the most, for an entry that a transaction before
 * xmax wrote, or that stands for many, and moves the position to it or past the blocks.
 */
typedef enum OutboxSearch
{
	OUTBOX_NONE,				/* up to the end */
	OUTBOX_MORE,				/* but these were not all blocks */
	OUTBOX_FOUND
} OutboxSearch;

extern OutboxSearch outbox_find_before(ItemPointer position, TransactionId xmax, BlockNumber max_blocks);

#endif							/* MIXPEEK_OUTBOX_H */
