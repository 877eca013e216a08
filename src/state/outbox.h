/*-------------------------------------------------------------------------
 *
 * outbox.h
 *		mixpeek.outbox as the worker sees it: entries are read, removed and put in.
 *
 * All functions must be called in a transaction with a snapshot.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_OUTBOX_H
#define MIXPEEK_OUTBOX_H

#include "base/blockset.h"
#include "nodes/pg_list.h"
#include "storage/itemptr.h"

/* Values of the column "operation". */
#define OUTBOX_INSERT		'I'
#define OUTBOX_UPDATE		'U'
#define OUTBOX_DELETE		'D'
#define OUTBOX_RECHECK		'K' /* compare row and record once more */
#define OUTBOX_REFRESH		'R' /* poll the document */
#define OUTBOX_ALL_ROWS		'B' /* all rows of the table after key */
#define OUTBOX_ALL_STORED	'T' /* all records of the mirror after key */
#define OUTBOX_DEFINITION	'C' /* compare the key's definition, see
								 * key_table.h */

typedef struct OutboxEntry
{
	ItemPointerData tid;
	TransactionId xmin;			/* the transaction that wrote it */
	Oid			relation;
	char		operation;
	char	   *collection;
	char	   *key;			/* NULL, of OUTBOX_ALL_...: from the first one */
} OutboxEntry;

/*
 * Decides whether an entry of a table and collection, which is in this block, is left in the outbox
 * for now.  Must not raise errors.
 */
typedef bool (*OutboxSkip) (void *arg, Oid relation, const text * collection, BlockNumber block);

/* How much may be read.  limit and blocks are counted down, bytes is counted up. */
typedef struct OutboxRead
{
	OutboxSkip	skip;			/* NULL: no entry is skipped */
	void	   *arg;			/* of skip */
	int			limit;			/* entries */
	int			blocks;
	size_t		bytes;			/* of texts */
	Oid			filenode;		/* the table's at the last read; updated */
	bool		moved;			/* result: the table was rewritten since */
} OutboxRead;

/*
 * Read the entries in the blocks of a set.  Returns those that are not skipped, as a List of
 * OutboxEntry in the current memory context, and removes what was read from the set.
 */
extern List *outbox_read(OutboxRead *read, BlockSet *set);

/*
 * Remove entries that were read.  An entry that is not at its place any more is left out: another
 * session has deleted it, or rewritten the table.
 */
extern void outbox_remove(const List *entries);

/* Return a copy of an entry in the current memory context. */
extern OutboxEntry *outbox_copy_entry(const OutboxEntry *entry);

/* Remove all visible entries that have no key and otherwise the same values as this one. */
extern void outbox_remove_expansions(const OutboxEntry *entry);

/*
 * Remove a mirror's entries for all rows or all records after some key.  Reads the whole outbox.
 * Those that the caller has read already must not be used afterwards.
 */
extern void outbox_remove_continued(Oid relation, const char *collection);

/* Remove all entries of a table and one collection, or all (NULL).  Reads the whole outbox. */
extern void outbox_forget(Oid relation, const char *collection);

/* Insert entries for keys, at once; add the blocks that they are in to a set. */
extern void outbox_put(Oid relation, char operation, const char *collection,
					   char *const *keys, int nkeys, BlockSet *blocks);

typedef enum OutboxSearch
{
	OUTBOX_NONE,				/* there is none up to the end */
	OUTBOX_MORE,				/* none so far, and there are more blocks */
	OUTBOX_FOUND
} OutboxSearch;

/*
 * Search for an entry that was written by a transaction before xmax, or that may stand for such
 * entries.  Reads at most max_blocks blocks from *position on, and moves *position to the entry, or
 * past the blocks.
 */
extern OutboxSearch outbox_find_before(ItemPointer position, TransactionId xmax, BlockNumber max_blocks);

#endif							/* MIXPEEK_OUTBOX_H */
