/*-------------------------------------------------------------------------
 *
 * shmem.h
 *		Messages between writers, workers and the launcher.
 *
 * All messages are hints.  If the library is not in shared_preload_libraries there
 * is no shared memory, and the functions of writers do nothing.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_SHMEM_H
#define MIXPEEK_SHMEM_H

#include "base/blockset.h"

/* Request shared memory.  From _PG_init(), in the postmaster. */
extern void shmem_request(void);

/* Check whether there is shared memory. */
extern bool shmem_available(void);

/*
 * Wake the database's worker, if there is one, to check its servers and whether the database is a
 * copy.
 */
extern void shmem_wake_worker(Oid database);

/*
 * Send the database's worker the blocks of the outbox that have new entries.  Sets its latch only
 * once after each shmem_expect_changes(), so a worker that is busy or paused is not disturbed.
 */
extern void shmem_send_blocks(Oid database, const BlockSet *blocks);

/*
 * Note the blocks of a transaction that is prepared, and send the noted blocks when one is
 * committed.  A worker that was started in between does not have them, so all blocks are
 * sent as well.
 */
extern void shmem_note_prepared(Oid database, const BlockSet *blocks);
extern void shmem_send_prepared(Oid database);

/*
 * Functions of the worker.  It calls shmem_expect_changes() before it reads the outbox, so a later
 * change sets its latch.  Any wait may reset the latch, so before it sleeps it also calls
 * shmem_changes_wait() and shmem_is_woken().  shmem_take_changes() adds the blocks to two sets: wide_news
 * are those of transactions that wrote many, which the others need not wait for.
 */
extern bool shmem_is_attached(void);
extern void shmem_expect_changes(void);
extern bool shmem_changes_wait(void);
extern void shmem_take_changes(BlockSet *news, BlockSet *wide_news);
extern bool shmem_is_woken(void);
extern bool shmem_take_wake(void);

/*
 * Register this process as the launcher, or as the database's worker, until it exits.  The latter returns
 * false if the database has a worker or is held.
 */
extern void shmem_attach_launcher(void);
extern bool shmem_attach_worker(Oid database);

/* Check whether the database has a worker. */
extern bool shmem_worker_runs(Oid database);

/*
 * The worker reports that its database has the extension; the launcher's latch is set.  And check whether the
 * database's worker has done so.
 */
extern void shmem_report_extension(void);
extern bool shmem_worker_has_extension(Oid database);

/*
 * Terminate the database's worker, wait up to 5 seconds for its end, and keep the launcher from
 * starting another one until shmem_release_database() has been called as often.
 */
extern void shmem_hold_database(Oid database);
extern void shmem_release_database(Oid database);
extern bool shmem_database_is_held(Oid database);

/*
 * Databases that the launcher should check for the extension, and databases whose worker did not find
 * it.  The _take_ functions remove one and return false if there is none.  shmem_take_probe()
 * returns InvalidOid if more databases were requested than fit, or all were.
 */
extern void shmem_request_probe(Oid database);
extern bool shmem_take_probe(Oid *database);
extern void shmem_report_absent(Oid database);
extern bool shmem_take_absent(Oid *database);

#endif							/* MIXPEEK_SHMEM_H */
