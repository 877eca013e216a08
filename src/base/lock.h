/*-------------------------------------------------------------------------
 *
 * lock.h
 *		Locks that make the worker, and the starter of one, unique in a database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_LOCK_H
#define MIXPEEK_LOCK_H

/*
 * Make this process the database's only worker until it ends; wait until it can be.  Must be called
 * in a transaction.  If a transaction aborts later, one of the two locks is released, and
 * lock_keep_reconciler() must be called before anything else.
 */
extern void lock_reconciler(void);
extern void lock_keep_reconciler(void);

/*
 * Make this session the only one that may start a worker of its own, until unlock_starter() or the end of
 * the transaction.  If another session is, wait for it, or return false if wait is false.
 */
extern bool lock_starter(bool wait);
extern void unlock_starter(void);

#endif							/* MIXPEEK_LOCK_H */
