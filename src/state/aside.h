/*-------------------------------------------------------------------------
 *
 * aside.h
 *		Tables that are left alone for a while, for the worker died at their work.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_ASIDE_H
#define MIXPEEK_ASIDE_H

#include "base/crash.h"

/*
 * Sets aside the tables whose notes processes before this one have left (see
 * crash.h), and reads what is set aside.  To be called before the first claim, in a
 * transaction of its own; crash_recalled() is for when that is committed.
 */
extern void aside_recall(void);

/*
 * Sets a table aside, the longer the more often that happened lately.  The reason
 * completes "the worker … the table".  In a transaction.
 */
extern void aside_put(Oid relation, CrashEnd end, const char *reason);

/*
 * Around a claim: takes in what owners have said since, and forgets tables that went
 * well after their time.  all_seen: nothing is left that waits to be claimed.
 */
extern void aside_begin_claim(void);
extern void aside_end_claim(bool all_seen);

/* Is the table set aside?  aside_try(): false if it is; else it is worked on now. */
extern bool aside_is(Oid relation);
extern bool aside_try(Oid relation);

/* Seconds until the next one's time is over; -1: there is none. */
extern double aside_next(void);

/* For SQL functions: what the table's owner should know, or NULL; and that it is tried at once. */
extern char *aside_problem(Oid relation);
extern void aside_lift(Oid relation);

#endif							/* MIXPEEK_ASIDE_H */
