/*-------------------------------------------------------------------------
 *
 * watch_round.h
 *		One round of watch.c: has everything been done that was committed before it
 *		began?
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_WATCH_ROUND_H
#define MIXPEEK_WATCH_ROUND_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "storage/itemptr.h"

/* What a round waits for, in this order. */
typedef enum WatchStage
{
	STAGE_NONE,					/* no round has begun */
	STAGE_OUTBOX,				/* entries to be claimed */
	STAGE_JOBS,					/* jobs to be settled */
	STAGE_RECORDS,				/* pending records to be mirrored or to fail */
	STAGE_OVER
} WatchStage;

typedef enum WatchResult
{
	WATCH_PASSED,				/* nothing is left to wait for */
	WATCH_BLOCKED,				/* something was found that is not done */
	WATCH_UNDONE				/* not everything has been checked yet */
} WatchResult;

typedef struct WatchRound
{
	WatchStage	stage;
	MemoryContext context;		/* of keys */
	uint64		moves;			/* Worker.moves at the last check */

	/* STAGE_OUTBOX */
	TransactionId xmax;			/* entries of transactions from this one on do
								 * not count */
	ItemPointerData position;	/* up to here there are no entries that count */

	/* STAGE_JOBS */
	uint64		last_job;		/* number of the last job that counts */

	/* STAGE_RECORDS */
	TimestampTz due_position;	/* up to here records have been read */
	int			due_records;	/* records to be read next */
	bool		all_read;		/* all records have been read */
	List	   *keys;			/* of UnfinishedKey: pending when they were
								 * read */
	int			nfinished;		/* so many of them are finished */
} WatchRound;

struct Worker;

/* Set up a round that has not begun, with memory in the current context. */
extern void watch_round_init(WatchRound *round);

/* Begin: wait for what was committed by transactions before xmax. */
extern void watch_round_start(WatchRound *round, TransactionId xmax);

/*
 * Continue to check, from where the last check has stopped, for some milliseconds at
 * most.  Must be called in a transaction.
 */
extern WatchResult watch_round_check(struct Worker *worker, WatchRound *round);

extern void watch_round_end(WatchRound *round);

#endif							/* MIXPEEK_WATCH_ROUND_H */
