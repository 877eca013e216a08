/*-------------------------------------------------------------------------
 *
 * outbox.h
 *		mixpeek.outbox: the keys that are still to be looked at.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_OUTBOX_H
#define MIXPEEK_OUTBOX_H

#include "nodes/pg_list.h"
#include "storage/itemptr.h"
#include "utils/snapshot.h"

/* What an entry says; see the column's comment in the install script. */
#define OUTBOX_INSERT		'I'
#define OUTBOX_UPDATE		'U'
#define OUTBOX_DELETE		'D'
#define OUTBOX_LOOK			'K'
#define OUTBOX_REFRESH		'R'
#define OUTBOX_ALL_ROWS		'B'
#define OUTBOX_ALL_STORED	'T'

/*
 * Writer's side.  Adds an entry to the transaction's buffer; it reaches the
 * table before the transaction commits or prepares, and goes with it or
 * with its subtransaction if that rolls back.  key may be NULL.
 */
extern void outbox_add(Oid relation, char operation, const char *collection,
					   const char *key);
extern void outbox_init(void);

/* The transaction put entries in by other ways: its commit wakes the worker. */
extern void outbox_notify(void);

/* Worker's side; all in a transaction with a snapshot. */
typedef struct OutboxEntry
{
	ItemPointerData tid;
	Oid			relation;
	char		operation;
	char	   *collection;
	char	   *key;			/* NULL: from the beginning (B and T) */
} OutboxEntry;

/*
 * Up to limit entries that stand behind *position, as a List of OutboxEntry in
 * the current memory context, except those of the mirrors in the arrays
 * (relations[i], collections[i]).  *position moves to the last one.
 */
extern List *outbox_read(ItemPointer position, int limit, int nexcept,
						 const Oid *relations, char *const *collections);

/* Removes entries that have been taken up. */
extern void outbox_remove(const List *entries);

/* Removes all visible entries that say the same "all" as this one, which has no key. */
extern void outbox_remove_expansions(const OutboxEntry *entry);

/* Removes all of a table's in one collection or (NULL) in all; reads the whole outbox. */
extern void outbox_forget(Oid relation, const char *collection);

/* Puts keys in at once, or moves a B or T entry's place to key. */
extern void outbox_put(Oid relation, char operation, const char *collection,
					   char *const *keys, int nkeys);

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
