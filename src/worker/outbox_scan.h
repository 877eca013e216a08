/*-------------------------------------------------------------------------
 *
 * outbox_scan.h
 *		Which blocks of the outbox are still to be read, and in which order.
 *
 * Entries that cannot be taken now (their server is down or busy, their table is locked)
 * stay in the outbox, and there may be millions of them.  They must not be read again and
 * again to find the others.  So writers announce the blocks that they have filled (news),
 * and the scan remembers for each mirror in which blocks it left entries.  The whole table
 * is read only if that is not known: at the start, or after entries were written without
 * an announcement.  No claim reads more than a certain number of blocks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_OUTBOX_SCAN_H
#define MIXPEEK_OUTBOX_SCAN_H

#include "base/blockset.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/hsearch.h"
#include "worker/forward.h"

typedef struct OutboxScan
{
	/* blocks to be read */
	BlockSet	news;			/* written recently; read first */
	BlockSet	wide;			/* many, or all; read in between */
	BlockSet	wide_next;		/* to be read when wide has been */
	BlockSet	busy;			/* with entries of keys that have a job; read
								 * when a job has ended */
	BlockSet	later;			/* read when Schedule.retry_at has come */

	/* mirrors */
	HTAB	   *mirrors;		/* ScannedMirror: excluded, or with entries
								 * left */
	int			nleft;			/* how many of them have left entries */
	uint64		claim;			/* number of the running claim */

	/* due records that were left */
	TimestampTz busy_due;		/* the first one whose key has a job;
								 * DT_NOEND: none */
	TimestampTz due_again;		/* all from this time on are to be read again;
								 * DT_NOEND: no */
	bool		due_turn;		/* the last reading was of these */

	/* when to read */
	bool		scan_now;		/* whatever the pauses below say */
	bool		left_waits;		/* mirrors have left entries that may be taken */
	bool		news_last;		/* read the news last, the next time: they
								 * took all the room there was */
	double		news_at;		/* a pause, after none of the news could be
								 * taken */
	double		wide_at;		/* the same for wide */
	bool		wanted;			/* some account takes keys */
	double		idle_at;		/* if none does: when to read wide */
	double		restarted_at;	/* when the whole table was put into wide */
	Oid			filenode;		/* of the table when it was read last */
} OutboxScan;

/* Initialize the scan, with the whole table to be read. */
extern void outbox_scan_init(Worker *worker);

/* Have the whole table read again. */
extern void outbox_scan_restart(Worker *worker);

/* Return the seconds until something is to be read; -1: nothing is. */
extern double outbox_scan_delay(const Worker *worker, double now);

/*
 * Begin a claim; then tell which mirrors are excluded from it.  With down, the mirror's
 * entries can be taken, but its account is down.
 */
extern void outbox_scan_begin_claim(Worker *worker);
extern void outbox_scan_exclude(Worker *worker, Oid relation, const char *collection, bool down);

/* Check whether a mirror is excluded from this claim, or its account is down. */
extern bool outbox_scan_is_excluded(Worker *worker, Oid relation, const char *collection);
extern bool outbox_scan_is_down(Worker *worker, Oid relation, const char *collection);

/* Return the next entries, up to limit, as a List of OutboxEntry. */
extern List *outbox_scan_read(Worker *worker, int limit);

/* End the reading of a claim; wanted: some account takes more keys. */
extern void outbox_scan_end_claim(Worker *worker, bool wanted);

/*
 * Leave an entry of this block where it is: because its key has a job (busy), or because its
 * mirror takes no keys now.  In that case the mirror is excluded from the rest of the claim.
 */
extern void outbox_scan_leave(Worker *worker, Oid relation, const char *collection, BlockNumber block, bool busy);

/* Have the entries read again that were left: those of retry_at, or those whose keys had a job. */
extern void outbox_scan_retry_left(Worker *worker);
extern void outbox_scan_retry_busy(Worker *worker);

/*
 * Do the same for due records.  outbox_scan_leave_due() leaves one;
 * outbox_scan_first_due_left() returns the time of the first that was left and may be
 * taken now, or DT_NOEND; outbox_scan_pass_due_left() notes that those before a time have
 * been read up to position.
 */
extern void outbox_scan_leave_due(Worker *worker, Oid relation, const char *collection, TimestampTz due);
extern TimestampTz outbox_scan_first_due_left(Worker *worker);
extern void outbox_scan_pass_due_left(Worker *worker, TimestampTz before, TimestampTz position);

#endif							/* MIXPEEK_OUTBOX_SCAN_H */
