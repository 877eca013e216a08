/*-------------------------------------------------------------------------
 *
 * aside.h
 *		Tables that are set aside for a while, because the worker crashed while it worked on them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_ASIDE_H
#define MIXPEEK_ASIDE_H

#include "base/crash.h"

/*
 * Set aside the tables whose notes previous processes have left (see crash.h), and read which
 * tables are set aside.  To be called before the first claim, in a transaction of its own; the caller
 * calls crash_recalled() after its commit.
 */
extern void aside_recall(void);

/*
 * Set a table aside, for longer each time that this happens again.  reason completes the sentence
 * "the worker ... the table".  Must be called in a transaction, as the next two functions.
 */
extern void aside_put(Oid relation, CrashEnd end, const char *reason);

/*
 * To be called before and after each claim: read which tables owners have released, and forget tables
 * that caused no trouble after their time.  all_seen: nothing is left that could be claimed.
 */
extern void aside_begin_claim(void);
extern void aside_end_claim(bool all_seen);

/* Check whether a table is set aside. */
extern bool aside_is(Oid relation);

/* Check whether a table may be worked on, and note that it is. */
extern bool aside_try(Oid relation);

/* Return the seconds until the next table's time is over; -1 if there is none. */
extern double aside_next(void);

/* Return a message for the table's owner, palloc'd, or NULL if the table is not set aside.  For SQL functions. */
extern char *aside_problem(Oid relation);

/* Release a table.  For SQL functions. */
extern void aside_lift(Oid relation);

#endif							/* MIXPEEK_ASIDE_H */
