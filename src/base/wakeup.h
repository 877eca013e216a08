/*-------------------------------------------------------------------------
 *
 * wakeup.h
 *		Wake-ups of the worker and the launcher when a transaction commits.
 *
 * Requests are collected in the session.  They are carried out after the
 * transaction has released its locks, and dropped if it aborts.  A subtransaction's
 * requests are carried out even if it aborts: a wake-up is a hint.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_WAKEUP_H
#define MIXPEEK_WAKEUP_H

#include "storage/block.h"

/* Flags of wakeup_at_commit(). */
#define WAKEUP_WORKER		0x1 /* this database's worker, whatever it waits
								 * for */
#define WAKEUP_PROBE		0x2 /* the launcher: does this database need a
								 * worker? */
#define WAKEUP_PROBE_ALL	0x4 /* the launcher: does any database? */

/* Register the callbacks.  From _PG_init(). */
extern void wakeup_init(void);

/* Request wake-ups, an OR of the flags. */
extern void wakeup_at_commit(int flags);

/*
 * Note that the transaction wrote entries into these blocks of mixpeek.outbox, from first to last.
 * At commit the worker gets to know of the blocks, and is woken if it waits for entries.
 */
extern void wakeup_add_blocks(BlockNumber first, BlockNumber last);

#endif							/* MIXPEEK_WAKEUP_H */
