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

/* From _PG_init(), while the postmaster loads the library. */
extern void shmem_request(void);
extern bool shmem_available(void);

/* Sets the latch of the database's worker, if it has one. */
extern void shmem_wake_worker(Oid database);

/*
 * There are new entries in the outbox: wakes the worker, but only once after it
 * has asked for that.  It asks before it looks, so what it does not see wakes it; a
 * worker that is busy or paused is left alone.
 */
extern void shmem_tell_worker(Oid database);
extern void shmem_expect_changes(void);

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
