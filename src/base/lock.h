/*-------------------------------------------------------------------------
 *
 * lock.h
 *		Who works on a database, and who may start somebody who does.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_LOCK_H
#define MIXPEEK_LOCK_H

/*
 * Makes this process the only one that works on the database, until it ends; waits until it is.  In a
 * transaction.  An error that aborts a transaction takes a part of it back: then
 * lock_keep_reconciler() is called before anything else.
 */
extern void lock_reconciler(void);
extern void lock_keep_reconciler(void);

/*
 * Makes the session the only one that has a worker of its own, until unlock_starter() or the transaction's
 * end.  False if another is, and wait is not given.
 */
extern bool lock_starter(bool wait);
extern void unlock_starter(void);

#endif							/* MIXPEEK_LOCK_H */
