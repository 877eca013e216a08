/*-------------------------------------------------------------------------
 *
 * shmem.h
 *		What the writers, the workers and the launcher tell each other.
 *
 * All of it is hints: without the library in shared_preload_libraries there is
 * no shared memory, every function here does nothing, and no promise depends
 * on it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_SHMEM_H
#define MIXPEEK_SHMEM_H

#include "base/blockset.h"

/* From _PG_init(), while the postmaster loads the library. */
extern void shmem_request(void);
extern bool shmem_available(void);

/*
 * The database's worker, if it has one, looks round: at its servers, and at whose copy
 * the database is.
 */
extern void shmem_wake_worker(Oid database);

/*
 * There are new entries in these blocks of the outbox.  Sets the worker's latch, but
 * only once after it has asked for that: a worker that is busy or paused is left alone,
 * and finds the blocks when it looks.
 */
extern void shmem_tell_worker(Oid database, const BlockSet *blocks);

/*
 * A transaction that put entries in was prepared; one was committed.  Where the worker
 * began in between, nobody knows which blocks it has filled: so all of them are told, too.
 */
extern void shmem_note_prepared(Oid database, const BlockSet *blocks);
extern void shmem_tell_prepared(Oid database);

/*
 * The worker's side.  It asks before it looks, so what it does not see sets its latch.
 * But a latch is a hint, which any wait may take: before it sleeps it asks whether there
 * are changes, or whether it was woken.
 */
extern bool shmem_is_told(void);
extern void shmem_expect_changes(void);
extern bool shmem_changes_wait(void);
extern void shmem_take_changes(BlockSet *news, BlockSet *wide_news);
extern bool shmem_is_woken(void);
extern bool shmem_take_wake(void);

/* The launcher's and the workers' own side; undone when the process exits. */
extern void shmem_attach_launcher(void);
extern bool shmem_attach_worker(Oid database);

/* Is a worker attached for the database? */
extern bool shmem_worker_runs(Oid database);

/*
 * Asks the database's worker to leave and keeps the launcher from starting
 * another until shmem_release_database() was called as often; waits until it
 * is gone.
 */
extern void shmem_hold_database(Oid database);
extern void shmem_release_database(Oid database);
extern bool shmem_database_is_held(Oid database);

/*
 * Databases the launcher should look at, and those whose worker found no
 * extension.  take: true and InvalidOid means "more than were remembered".
 */
extern void shmem_request_probe(Oid database);
extern bool shmem_take_probe(Oid *database);
extern void shmem_report_absent(Oid database);
extern bool shmem_take_absent(Oid *database);

#endif							/* MIXPEEK_SHMEM_H */
