/*-------------------------------------------------------------------------
 *
 * watch_round.c
 *		One round of watch.c: has everything been done that was committed before it
 *		began?
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/clock.h"
#include "state/due.h"
#include "state/outbox.h"
#include "state/unfinished.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/watch_round.h"
#include "worker/worker.h"

/* Read at a time: blocks of the outbox, records that have a due time, and pending records again. */
#define OUTBOX_BLOCKS	64
#define DUE_RECORDS		500
#define CHECKED_KEYS	64

/* Seconds that a check may take. */
#define CHECK_TIME		0.003

/* Most pending keys that are remembered.  The other ones are read when these are finished. */
#define MAX_UNFINISHED	10000

void
watch_round_init(WatchRound *round)
{
	memset(round, 0, sizeof(WatchRound));
	round->context = AllocSetContextCreate(CurrentMemoryContext, "mixpeek watch", ALLOCSET_SMALL_SIZES);
}

void
watch_round_start(WatchRound *round, TransactionId xmax)
{
	round->xmax = xmax;
	round->stage = STAGE_OUTBOX;
	ItemPointerSet(&round->position, 0, 0);
}

static void
forget_keys(WatchRound *round)
{
	round->keys = NIL;
	round->nfinished = 0;
	MemoryContextReset(round->context);
}

void
watch_round_end(WatchRound *round)
{
	round->stage = STAGE_NONE;
	forget_keys(round);
}

static void
start_records(WatchRound *round)
{
	round->stage = STAGE_RECORDS;
	round->due_position = DT_NOBEGIN;
	round->due_records = DUE_RECORDS;
	round->all_read = false;
	forget_keys(round);
}

static WatchResult
check_outbox(Worker *worker, WatchRound *round)
{
	switch (outbox_find_before(&round->position, round->xmax, OUTBOX_BLOCKS))
	{
		case OUTBOX_FOUND:
			return WATCH_BLOCKED;
		case OUTBOX_MORE:
			return WATCH_UNDONE;
		case OUTBOX_NONE:
			break;
	}
	round->stage = STAGE_JOBS;
	round->last_job = worker->jobs.last_number;
	return WATCH_PASSED;
}

/* Check whether there is a job with a number up to last_job, other than jobs that only poll. */
static bool
has_jobs(const Worker *worker, uint64 last_job)
{
	HASH_SEQ_STATUS status;
	JobEntry   *entry;

	if (worker->jobs.count == 0)
		return false;
	hash_seq_init(&status, worker->jobs.by_key);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->job->number <= last_job && !entry->job->refresh)
		{
			hash_seq_term(&status);
			return true;
		}
	}
	return false;
}

/* Records that an earlier worker has left in state "sending" count as well: their jobs are created by recovery. */
static WatchResult
check_jobs(const Worker *worker, WatchRound *round)
{
	if (has_jobs(worker, round->last_job))
		return WATCH_BLOCKED;
	if (worker->recovery.abandoned && due_list_abandoned() != NIL)
		return WATCH_BLOCKED;
	start_records(round);
	return WATCH_PASSED;
}

/* Check some of the keys that were pending.  When all are finished, forget them. */
static WatchResult
check_pending_keys(WatchRound *round)
{
	int			n = Min(CHECKED_KEYS, list_length(round->keys) - round->nfinished);

	if (n > 0)
	{
		if (unfinished_still(round->keys, round->nfinished, n))
			return WATCH_BLOCKED;
		round->nfinished += n;
		return WATCH_UNDONE;
	}
	forget_keys(round);
	return round->all_read ? WATCH_PASSED : WATCH_UNDONE;
}

/*
 * Read the pending records, and check whether they are pending still.  Some of the
 * records that are read late may have become pending after the stage began; waiting
 * for these as well does no harm.
 */
static WatchResult
check_records(WatchRound *round)
{
	WatchResult result;

	if (!round->all_read && list_length(round->keys) < MAX_UNFINISHED)
	{
		round->all_read = !unfinished_collect(&round->due_position, &round->due_records,
											  &round->keys, round->context);
		return WATCH_UNDONE;
	}
	result = check_pending_keys(round);
	if (result == WATCH_PASSED)
		round->stage = STAGE_OVER;
	return result;
}

/* Begin each scan anew if entries or records may have moved from behind its position to before it. */
static void
follow_moves(const Worker *worker, WatchRound *round)
{
	if (round->moves == worker->moves)
		return;
	round->moves = worker->moves;
	ItemPointerSet(&round->position, 0, 0);
	round->due_position = DT_NOBEGIN;
	round->all_read = false;
}

static WatchResult
check_stage(Worker *worker, WatchRound *round)
{
	switch (round->stage)
	{
		case STAGE_OUTBOX:
			return check_outbox(worker, round);
		case STAGE_JOBS:
			return check_jobs(worker, round);
		default:
			return check_records(round);
	}
}

WatchResult
watch_round_check(Worker *worker, WatchRound *round)
{
	double		started = clock_seconds();
	WatchResult result = WATCH_UNDONE;

	if (round->stage == STAGE_OVER)
		return WATCH_PASSED;
	follow_moves(worker, round);
	while (round->stage != STAGE_OVER && result != WATCH_BLOCKED &&
		   clock_seconds() - started < CHECK_TIME)
		result = check_stage(worker, round);
	if (round->stage == STAGE_OVER)
		return WATCH_PASSED;
	return result == WATCH_BLOCKED ? WATCH_BLOCKED : WATCH_UNDONE;
}
