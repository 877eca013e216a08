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
	TransactionId xmin;			/* who wrote it */
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

/* Puts keys in at once, or moves a B or T entry's place to key. */
extern void outbox_put(Oid relation, char operation, const char *collection,
					   char *const *keys, int nkeys);

/*
 * Is there an entry that another transaction before xmax wrote, or that stands
 * for many?  The caller's snapshot decides which are visible.
 */
extern bool outbox_any_before(TransactionId xmax);

#endif							/* MIXPEEK_OUTBOX_H */
