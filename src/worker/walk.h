/*-------------------------------------------------------------------------
 *
 * walk.h
 *		What the worker looks at in the outbox, and in which order.
 *
 * Keys that nobody can take now (their server is down or busy, their table is locked)
 * stay in the outbox, and there may be millions of them.  They must not be walked past
 * again and again to find the others.  So writers say where they have put something
 * (news), and the walk remembers of each mirror where it left keys.  The whole table is
 * walked only where this is not known: at the start, or after entries came by ways that
 * leave no word.  No claim reads more than some blocks, whatever stands there.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_WALK_H
#define MIXPEEK_WALK_H

#include "base/blockset.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/hsearch.h"

typedef struct Walk
{
	BlockSet	news;			/* written just now, and read first */
	BlockSet	wide;			/* much at once, or all; read in between */
	BlockSet	wide_next;		/* to be read when that is done */
	BlockSet	busy;			/* keys that were under way: to be read when a
								 * job has ended */
	BlockSet	later;			/* to be read when Worker.skipped_until has
								 * come */
	TimestampTz busy_due;		/* the first due key that was under way;
								 * DT_NOEND: none */
	TimestampTz due_again;		/* all due keys from that time on are to be
								 * read again; DT_NOEND: no */
	bool		due_turn;		/* those are read, and then those that have
								 * come due since */
	HTAB	   *mirrors;		/* that were excluded from a claim */
	int			nleft;			/* of these have left something */
	uint64		claim;			/* number of the claim that runs */
	bool		look;			/* look, whatever there is */
	bool		left_waits;		/* mirrors have left something that may be
								 * taken now */
	bool		news_last;		/* next time: they have taken all there was
								 * room for */
	double		news_at;		/* not before, if nothing could be taken of
								 * the last ones */
	double		wide_at;
	bool		wanted;			/* some server takes keys; if none does, the
								 * rest can wait: */
	double		idle_at;
	double		walked_at;		/* when the whole table was walked last */
	Oid			filenode;		/* of the table when it was read last */
} Walk;

struct Worker;

/* Nothing is known: the whole table is walked. */
extern void walk_init(struct Worker *worker);
extern void walk_all(struct Worker *worker);

/* Seconds until something is to be read; -1: there is nothing. */
extern double walk_delay(const struct Worker *worker, double now);

/* Begins a claim.  Then the mirrors that are excluded from it are told; down: only their server's state is in the way. */
extern void walk_begin(struct Worker *worker);
extern void walk_exclude(struct Worker *worker, Oid relation, const char *collection, bool down);

/* Was the mirror excluded from this claim; or is it one of a server that is down? */
extern bool walk_excludes(struct Worker *worker, Oid relation, const char *collection);
extern bool walk_is_down(struct Worker *worker, Oid relation, const char *collection);

/* The next entries, up to limit; List of OutboxEntry. */
extern List *walk_read(struct Worker *worker, int limit);

/* Ends a claim; wanted: some server takes more keys. */
extern void walk_end(struct Worker *worker, bool wanted);

/* An entry was not taken: busy, since its key is under way, or since its mirror takes none just now. */
extern void walk_leave(struct Worker *worker, Oid relation, const char *collection, BlockNumber block, bool busy);

/* All that was left may be taken now, or what was left for that reason. */
extern void walk_look_left(struct Worker *worker);
extern void walk_look_busy(struct Worker *worker);

/*
 * The same for keys that are due.  The first that was left and may be taken now (DT_NOEND: none); and those
 * left before a time are to be read again from position on.
 */
extern void walk_leave_due(struct Worker *worker, Oid relation, const char *collection, TimestampTz due);
extern TimestampTz walk_first_due_left(struct Worker *worker);
extern void walk_pass_due_left(struct Worker *worker, TimestampTz before, TimestampTz position);

#endif							/* MIXPEEK_WALK_H */
