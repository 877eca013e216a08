/*-------------------------------------------------------------------------
 *
 * due.h
 *		Records of mixpeek.documents by the time of their next attempt.
 *
 * All functions must be called in a transaction.  Times are those of
 * clock_now().
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_DUE_H
#define MIXPEEK_DUE_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

/* A key and its next_attempt_at. */
typedef struct DueKey
{
	Oid			relation;
	char	   *collection;
	char	   *key;
	TimestampTz due;
	char	   *server;			/* of an owed delete (owed.h), else NULL */
	Oid			owner;			/* likewise, else InvalidOid */
	bool		place_known;	/* likewise */
	int64		place;
} DueKey;

/*
 * Return up to limit keys that are due at "from" or later and before "until", as a List of
 * DueKey in that order.  Failed records are left out.
 */
extern List *due_read_keys(TimestampTz from, TimestampTz until, int limit);

/* Return the time when the next key after a time is due; 0 if there is none. */
extern TimestampTz due_find_next(TimestampTz after);

/*
 * Make the pending records of a server and owner due at once, except those whose last
 * request the API may still be processing.  Reads up to limit records of all owners that are due at
 * *position or later, and moves *position on.  Returns true if there may be more.
 */
extern bool due_hurry_account(const char *server, Oid owner, TimestampTz *position, int limit);

/* A server, table and owner whose records a previous worker has left "sending". */
typedef struct AbandonedKeys
{
	char	   *server;
	Oid			relation;
	Oid			owner;			/* of the table, or of owed deletes;
								 * InvalidOid: the table was dropped */
} AbandonedKeys;

/*
 * Return them as a List of AbandonedKeys.  If the previous worker's clock is not known, they include
 * pending and failed records whose last request the API may still be processing.
 */
extern List *due_list_abandoned(void);

/*
 * Make these records pending, and due no earlier than rest milliseconds after the start of this
 * worker: by then their last requests have ended.
 */
extern void due_recover_abandoned(const AbandonedKeys *abandoned, int rest);

/*
 * If the previous worker's clock is not known, bring forward times that are later than a worker
 * would set them now: max_delay seconds, or the longest delay between two polls.
 */
extern void due_bound_waits(int max_delay);

#endif							/* MIXPEEK_DUE_H */
