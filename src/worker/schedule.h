/*-------------------------------------------------------------------------
 *
 * schedule.h
 *		What is still to be claimed, and when to claim again.
 *
 * Keys are claimed from two places: the outbox (outbox_scan.h says what is to be read
 * of it) and the due records of mixpeek.documents, in the order of next_attempt_at.  A
 * key that cannot be claimed now is left where it is, and is retried when what was in
 * the way is over: its job has ended, its account has room, its table is not locked
 * any more.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_SCHEDULE_H
#define MIXPEEK_SCHEDULE_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "worker/forward.h"
#include "worker/mirror_cache.h"
#include "worker/outbox_scan.h"

/* The most keys of one claim: while it runs, no answer is taken. */
#define CLAIM_MAX		256

/* next_due, if the time is not known. */
#define DUE_UNKNOWN		(-1)

typedef struct Schedule
{
	OutboxScan	scan;
	bool		more;			/* the scan has not reached the end of what it
								 * is to read */
	bool		left_busy;		/* keys were left since they have a job */
	double		returns_since;	/* when entries of owed_put_return() were left
								 * for the first time, in clock_seconds(); 0:
								 * there are none */
	double		retry_at;		/* when keys that were left for a time are
								 * retried; 0: there are none */
	double		locked_until;	/* when the records, which another session has
								 * locked, are tried again */

	/* due records */
	TimestampTz next_due;		/* the first time at which one is due; 0: none
								 * is, or DUE_UNKNOWN */
	TimestampTz due_position;	/* those before were read */
	int			due_batch[2];	/* how many to read at once, of new ones and
								 * of those left; 0: as many as are wanted */
	double		due_not_before; /* a pause, after none of them could be taken */
	bool		due_first;		/* of an odd number of keys, one more is a due
								 * one; alternates */
} Schedule;

/* Start with everything to be read. */
extern void schedule_init(Worker *worker);

/*
 * Questions.  schedule_may_claim(): is there something to claim, and an account that
 * takes it?  schedule_is_due(): has a record's time come, or is it not known?
 * schedule_may_read_due(): is it, and is the pause over?  schedule_is_paused(): is
 * nothing claimed, whatever there is (mixpeek.enabled, a copy, a worker that closes)?
 * schedule_delay(): seconds until there is something to claim that no signal
 * announces, or -1.
 */
extern bool schedule_may_claim(Worker *worker);
extern bool schedule_is_due(const Worker *worker);
extern bool schedule_may_read_due(const Worker *worker);
extern bool schedule_is_paused(const Worker *worker);
extern double schedule_delay(Worker *worker);

/*
 * Room.  schedule_wants_keys(): does an account take keys now, or is none known?
 * schedule_has_room(): does this mirror's?  If not, it is retried when it has.
 * schedule_limit(): how many keys the next claim may take.
 */
extern bool schedule_wants_keys(const Worker *worker);
extern bool schedule_has_room(CachedMirror *cached);
extern int	schedule_limit(Worker *worker);

/*
 * Events.  schedule_rescan(): read the whole outbox and all due records again.
 * schedule_read_due_again(): records may be due that were not when their times were passed.
 * schedule_retry_left(): what was left may be claimed now.  schedule_retry_busy(): keys
 * that had a job may be.  schedule_retry_in(): retry what is left now, some seconds
 * later.  schedule_note_due(): a record is due at this time.  schedule_take_hints(): the
 * latch was set, with a wake-up by another session, or with changed settings.
 * schedule_check(): at the start of each turn, see whose time or room has come.
 */
extern void schedule_rescan(Worker *worker);
extern void schedule_read_due_again(Worker *worker);
extern void schedule_retry_left(Worker *worker);
extern void schedule_retry_busy(Worker *worker);
extern void schedule_retry_in(Worker *worker, double delay);
extern void schedule_note_due(Worker *worker, TimestampTz due);
extern void schedule_take_hints(Worker *worker, bool woken, bool settings);
extern void schedule_check(Worker *worker);

/*
 * The records, in the transaction of a claim or of a settlement.  schedule_lock_records(): lock them for changes; returns
 * false if another session has locked them, and then nothing is claimed or settled for a moment.
 * schedule_is_locked(): does that moment last?
 */
extern bool schedule_lock_records(Worker *worker);
extern bool schedule_is_locked(const Worker *worker);

/*
 * Parts of a claim, in its transaction.  schedule_reload_accounts(): load servers, user
 * mappings and rights that have changed.  schedule_begin_claim(): exclude the mirrors
 * of which nothing can be taken now.  schedule_due_share(): how many of limit keys may
 * be due ones.  schedule_read_due(): read so many due keys, as a List of DueKey in the
 * order of their times.  schedule_pause_due(): none of the keys read since began could
 * be taken.  schedule_end_scan(): the outbox has been read as far as this claim goes.
 */
extern void schedule_reload_accounts(Worker *worker);
extern void schedule_begin_claim(Worker *worker);
extern int	schedule_due_share(Worker *worker, int limit);
extern List *schedule_read_due(Worker *worker, int limit);
extern void schedule_pause_due(Worker *worker, double began);
extern void schedule_end_scan(Worker *worker);

#endif							/* MIXPEEK_SCHEDULE_H */
