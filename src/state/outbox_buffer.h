/*-------------------------------------------------------------------------
 *
 * outbox_buffer.h
 *		mixpeek.outbox as writers see it: entries are added.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_OUTBOX_BUFFER_H
#define MIXPEEK_OUTBOX_BUFFER_H

#include "storage/itemptr.h"

/* Register the callbacks.  From _PG_init(). */
extern void outbox_init(void);

/*
 * Add an entry to the transaction's buffer.  The entry is written to the table before the
 * transaction commits or prepares, and rolled back with it or with its subtransaction.
 * operation: see outbox.h.  key may be NULL.
 */
extern void outbox_add(Oid relation, char operation, const char *collection, const char *key);

/* Add entries that have all stored keys and all rows of a mirror checked again. */
extern void outbox_add_all(Oid relation, const char *collection);

/*
 * Note that the transaction has inserted entries by a statement, between these places of the
 * table or at unknown ones, so that its commit wakes the worker.
 */
extern void outbox_note_written(ItemPointer first, ItemPointer last);
extern void outbox_note_unknown(void);

/* Return the oid of mixpeek.outbox; InvalidOid if the extension does not exist. */
extern Oid	outbox_relid(void);

#endif							/* MIXPEEK_OUTBOX_BUFFER_H */
