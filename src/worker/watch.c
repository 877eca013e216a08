/*-------------------------------------------------------------------------
 *
 * watch.c
 *		The worker's answers to sessions that wait.
 *
 * Sessions that wait are answered by rounds.  A round begins with all who wait by then, and
 * waits in turn until
 *
 *		the outbox holds no entry that was committed before;
 *		the jobs that there are then have been settled;
 *		the records that are pending then were mirrored, or have failed, once.
 *
 * Whatever holds a round up would hold up those who come later, too: they wait for
 * the next one.  Each look goes on from where the last one has found something, so it is short,
 * and they take no more than a small part of the worker's time.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/transam.h"
#include "base/clock.h"
#include "base/settings.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "state/documents.h"
#include "state/origin.h"
#include "state/outbox.h"
#include "state/unfinished.h"
#include "utils/acl.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/delegate.h"
#include "worker/outcome.h"
#include "worker/watch.h"
#include "worker/worker.h"

/* After an error so many seconds. */
#define ERROR_DELAY		5.0

/* At a time: blocks of the outbox, records that have a time, and those of them that were pending. */
#define OUTBOX_BLOCKS	64
#define DUE_LINES		500
#define CHECKED_KEYS	64

/* Seconds that a look may take, and how many times as long as it took the next one comes later. */
#define LOOK_TIME		0.003
#define LOOK_REST		30

/* So many pending keys are remembered; of more, the others are read when these are done. */
#define MAX_UNFINISHED	10000

/* Without any change a round is looked at after so many seconds, doubled each time. */
#define MIN_DELAY		0.02
#define MAX_DELAY		1.0

/* mixpeek.sync() waits for locked tables, when nothing else is left, so many seconds. */
#define LOCK_PATIENCE	1

typedef struct Waiter
{
	Ticket	   *place;
	Ticket		ticket;			/* all but the answer */
	bool		in_round;
} Waiter;

typedef enum Stage
{
	STAGE_NONE,
	STAGE_OUTBOX,
	STAGE_JOBS,
	STAGE_LINES,
	STAGE_OVER
} Stage;

typedef enum Look
{
	LOOK_PASSED,
	LOOK_BLOCKED,
	LOOK_UNDONE					/* there was no time for all */
} Look;

struct Watch
{
	Tickets    *tickets;
	uint32		news;
	int			nwaiters;
	Waiter	   *waiters;		/* room for all tickets */
	bool		read;			/* once at least */
	bool		fresh;			/* some have come since the last look */
	double		patience_ends;	/* of those who sync; 0: something else is
								 * left to do */

	/* the round */
	Stage		stage;
	MemoryContext context;		/* of keys */
	TransactionId xmax;
	ItemPointerData position;	/* in the outbox */
	uint64		last_job;
	TimestampTz due_position;
	int			due_lines;
	bool		all_lines;		/* all pending ones were read */
	List	   *keys;			/* of UnfinishedKey: those that were pending */
	int			nfinished;		/* so many of them are not, any more */

	/* when to look */
	uint64		changes;		/* as the worker had made by the last look */
	uint64		moves;
	double		rest_until;
	double		delay;
	double		look_at;
};

Watch *
watch_create(Tickets *tickets)
{
	Watch	   *watch = palloc0(sizeof(Watch));

	watch->tickets = tickets;
	watch->news = pg_atomic_read_u32(&tickets->news) - 1;
	watch->waiters = palloc0(sizeof(Waiter) * tickets->n);
	watch->context = AllocSetContextCreate(CurrentMemoryContext, "mixpeek watch", ALLOCSET_SMALL_SIZES);
	return watch;
}

bool
watch_is_over(const Watch *watch)
{
	return watch->read && watch->nwaiters == 0;
}

/*
 * Who waits
 */

static const Waiter *
find_waiter(const Waiter *waiters, int n, const Ticket *place, uint32 number)
{
	for (int i = 0; i < n; i++)
	{
		if (waiters[i].place == place && waiters[i].ticket.number == number)
			return &waiters[i];
	}
	return NULL;
}

/* A sync() is to find what was left before. */
static void
take_waiter(Worker *worker, const Waiter *waiter)
{
	worker->watch->fresh = true;
	if (waiter->ticket.kind != TICKET_SYNC)
		return;
	worker->watch->patience_ends = 0;
	schedule_rescan(worker);
}

static void
read_tickets(Worker *worker)
{
	Watch	   *watch = worker->watch;
	uint32		news = pg_atomic_read_u32(&watch->tickets->news);
	Waiter	   *before;
	int			nbefore = watch->nwaiters;

	if (news == watch->news)
		return;
	pg_read_barrier();
	watch->news = news;
	watch->read = true;
	before = palloc(sizeof(Waiter) * (nbefore + 1));
	memcpy(before, watch->waiters, sizeof(Waiter) * nbefore);
	watch->nwaiters = 0;
	for (int i = 0; i < watch->tickets->n; i++)
	{
		Waiter	   *waiter = &watch->waiters[watch->nwaiters];
		const Waiter *known;

		waiter->place = &watch->tickets->tickets[i];
		if (!ticket_read(waiter->place, MyDatabaseId, &waiter->ticket))
			continue;
		known = find_waiter(before, nbefore, waiter->place, waiter->ticket.number);
		waiter->in_round = known && known->in_round;
		if (known == NULL)
			take_waiter(worker, waiter);
		watch->nwaiters++;
	}
	pfree(before);
}

static bool
round_has_waiters(const Watch *watch)
{
	for (int i = 0; i < watch->nwaiters; i++)
	{
		if (watch->waiters[i].in_round)
			return true;
	}
	return false;
}

/*
 * Answers
 */

static void
answer(Watch *watch, Waiter *waiter, const TicketAnswer *text)
{
	ticket_answer(waiter->place, waiter->ticket.number, text);
	*waiter = watch->waiters[--watch->nwaiters];
}

/* To all who wait: what stops everything. */
static void
answer_all(Watch *watch, TicketResult result, const char *text)
{
	TicketAnswer all = {result};

	if (text)
		strlcpy(all.text, text, pg_mbcliplen(text, strlen(text), TICKET_TEXT - 1) + 1);
	while (watch->nwaiters > 0)
		answer(watch, &watch->waiters[0], &all);
}

/* A record more; what there is no room for is not said. */
static void
append_line(TicketAnswer *to, const char *record)
{
	size_t		used = strlen(to->text);
	size_t		len = strlen(record);

	if (used + 2 >= TICKET_TEXT)
		return;
	if (used > 0)
		to->text[used++] = '\n';
	len = pg_mbcliplen(record, len, TICKET_TEXT - 1 - used);
	for (size_t i = 0; i < len; i++)
		to->text[used + i] = record[i] == '\n' ? ' ' : record[i];
	to->text[used + len] = '\0';
}

static char *
connection_trouble(const Account *account)
{
	if (account->problem && account->retry_at > clock_seconds())
		return account->problem;
	if (account->server && account->throttle.down && account->setback)
		return psprintf("server \"%s\" is not usable: %s", account->name, account->setback);
	return NULL;
}

/* What was not done.  Why a server cannot be used is for those who may act for the tables' owner. */
static void
describe_rest(const Worker *worker, const Waiter *waiter, TicketAnswer *to)
{
	ListCell   *lc;

	to->left = worker->schedule.retry_at > 0;
	foreach(lc, worker->cache->accounts)
	{
		const Account *account = lfirst(lc);
		char	   *trouble = connection_trouble(account);

		if (trouble == NULL)
			continue;
		if (has_privs_of_role(waiter->ticket.role, account->owner))
			append_line(to, trouble);
		else
			to->hidden = true;
	}
}

/* Those of the round, or (idle) who sync. */
static void
answer_done(Worker *worker, bool idle)
{
	Watch	   *watch = worker->watch;

	for (int i = watch->nwaiters - 1; i >= 0; i--)
	{
		Waiter	   *waiter = &watch->waiters[i];
		TicketAnswer done = {TICKET_DONE};

		if (idle ? waiter->ticket.kind != TICKET_SYNC : !waiter->in_round)
			continue;
		if (waiter->ticket.kind == TICKET_SYNC)
			describe_rest(worker, waiter, &done);
		answer(watch, waiter, &done);
	}
}

/* That they are not done is known of all by now; where nobody works it will stay so. */
static void
answer_blocked(Worker *worker)
{
	Watch	   *watch = worker->watch;

	if (worker->purpose == WORKER_WATCHES)
	{
		answer_all(watch, TICKET_NOBODY, NULL);
		return;
	}
	for (int i = 0; i < watch->nwaiters; i++)
		ticket_looked(watch->waiters[i].place, watch->waiters[i].ticket.number);
}

/*
 * The round
 */

static void
start_round(Worker *worker)
{
	Watch	   *watch = worker->watch;
	char	   *id;
	char	   *problem = origin_problem(&id);

	if (problem)
	{
		answer_all(watch, TICKET_COPY, problem);
		return;
	}
	for (int i = 0; i < watch->nwaiters; i++)
	{
		TransactionId xmax = watch->waiters[i].ticket.xmax;

		watch->waiters[i].in_round = true;
		if (i == 0 || TransactionIdFollows(xmax, watch->xmax))
			watch->xmax = xmax;
	}
	watch->stage = STAGE_OUTBOX;
	ItemPointerSet(&watch->position, 0, 0);
}

static void
end_round(Watch *watch)
{
	watch->stage = STAGE_NONE;
	watch->keys = NIL;
	MemoryContextReset(watch->context);
}

static void
start_lines(Watch *watch)
{
	watch->stage = STAGE_LINES;
	watch->due_position = DT_NOBEGIN;
	watch->due_lines = DUE_LINES;
	watch->all_lines = false;
	watch->keys = NIL;
	watch->nfinished = 0;
	MemoryContextReset(watch->context);
}

static Look
look_at_outbox(Worker *worker)
{
	Watch	   *watch = worker->watch;

	switch (outbox_find_before(&watch->position, watch->xmax, OUTBOX_BLOCKS))
	{
		case OUTBOX_FOUND:
			return LOOK_BLOCKED;
		case OUTBOX_MORE:
			return LOOK_UNDONE;
		case OUTBOX_NONE:
			break;
	}
	watch->stage = STAGE_JOBS;
	watch->last_job = worker->jobs.last_number;
	return LOOK_PASSED;
}

/* One of those that had a number by then. */
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

/* Records that a worker before this one left have no job until they are recovered. */
static Look
look_at_jobs(Worker *worker)
{
	if (has_jobs(worker, worker->watch->last_job))
		return LOOK_BLOCKED;
	if (worker->recovery.abandoned && document_abandoned() != NIL)
		return LOOK_BLOCKED;
	start_lines(worker->watch);
	return LOOK_PASSED;
}

/* Pending records that are read later are among those that were pending then, or became so since; that is no harm. */
static Look
look_at_lines(Watch *watch)
{
	int			n;

	if (!watch->all_lines && list_length(watch->keys) < MAX_UNFINISHED)
	{
		watch->all_lines = !unfinished_collect(&watch->due_position, &watch->due_lines,
											   &watch->keys, watch->context);
		return LOOK_UNDONE;
	}
	n = Min(CHECKED_KEYS, list_length(watch->keys) - watch->nfinished);
	if (n > 0)
	{
		if (unfinished_still(watch->keys, watch->nfinished, n))
			return LOOK_BLOCKED;
		watch->nfinished += n;
		return LOOK_UNDONE;
	}
	watch->keys = NIL;
	watch->nfinished = 0;
	MemoryContextReset(watch->context);
	if (!watch->all_lines)
		return LOOK_UNDONE;
	watch->stage = STAGE_OVER;
	return LOOK_PASSED;
}

/* What was behind the place that the round has reached may be before it now. */
static void
follow_moves(Worker *worker)
{
	Watch	   *watch = worker->watch;

	if (watch->moves == worker->moves)
		return;
	watch->moves = worker->moves;
	ItemPointerSet(&watch->position, 0, 0);
	watch->due_position = DT_NOBEGIN;
	watch->all_lines = false;
}

static Look
look_on(Worker *worker)
{
	switch (worker->watch->stage)
	{
		case STAGE_OUTBOX:
			return look_at_outbox(worker);
		case STAGE_JOBS:
			return look_at_jobs(worker);
		default:
			return look_at_lines(worker->watch);
	}
}

/* As far as the time allows. */
static Look
look(Worker *worker)
{
	Watch	   *watch = worker->watch;
	double		started = clock_seconds();
	Look		result = LOOK_UNDONE;

	follow_moves(worker);
	while (watch->stage != STAGE_OVER && result != LOOK_BLOCKED &&
		   clock_seconds() - started < LOOK_TIME)
		result = look_on(worker);
	return watch->stage == STAGE_OVER ? LOOK_PASSED : result == LOOK_BLOCKED ? result : LOOK_UNDONE;
}

/* A worker of one session alone begins nothing new when it is done, and lets what is under way end. */
static bool
must_end_first(Worker *worker)
{
	if (worker->purpose != WORKER_SYNCS || worker->jobs.count == 0)
		return false;
	worker->closing = true;
	return true;
}

static void
look_at_round(Worker *worker)
{
	Watch	   *watch = worker->watch;

	if (watch->stage != STAGE_NONE && !round_has_waiters(watch))
		end_round(watch);
	if (watch->stage == STAGE_NONE)
		start_round(worker);
	if (watch->nwaiters == 0)
		return;
	switch (watch->stage == STAGE_OVER ? LOOK_PASSED : look(worker))
	{
		case LOOK_BLOCKED:
			if (watch->delay > 0)
				watch->delay = Min(watch->delay * 2, MAX_DELAY);
			else
				watch->delay = MIN_DELAY;
			answer_blocked(worker);
			break;
		case LOOK_UNDONE:
			watch->delay = 0;
			break;
		case LOOK_PASSED:
			watch->delay = must_end_first(worker) ? MAX_DELAY : 0;
			if (worker->closing && worker->jobs.count > 0)
				break;
			answer_done(worker, false);
			end_round(watch);
			break;
	}
}

/*
 * Those who sync
 */

static bool
any_sync(const Watch *watch)
{
	for (int i = 0; i < watch->nwaiters; i++)
	{
		if (watch->waiters[i].ticket.kind == TICKET_SYNC)
			return true;
	}
	return false;
}

/* Nothing is left that is due within some seconds. */
static bool
is_idle(const Worker *worker)
{
	if (worker->jobs.count > 0 || worker->schedule.more || worker->schedule.next_due == -1 || worker->recovery.rest_until > clock_seconds() ||
		delegate_is_busy(worker))
		return false;
	return worker->schedule.next_due == 0 ||
		worker->schedule.next_due > clock_in(SYNC_PATIENCE * 1000);
}

/* Locked tables are waited for, too, but not for long. */
static bool
sync_is_over(const Worker *worker, Watch *watch, double now)
{
	if (worker->jobs.count > 0 || delegate_is_busy(worker))
		watch->patience_ends = 0;
	if (!is_idle(worker))
		return false;
	if (worker->schedule.retry_at > 0 && watch->patience_ends == 0)
		watch->patience_ends = now + LOCK_PATIENCE;
	return worker->schedule.retry_at == 0 || now >= watch->patience_ends;
}

static void
answer_disabled(Watch *watch)
{
	TicketAnswer disabled = {TICKET_DISABLED};

	for (int i = watch->nwaiters - 1; i >= 0; i--)
	{
		if (watch->waiters[i].ticket.kind == TICKET_SYNC)
			answer(watch, &watch->waiters[i], &disabled);
	}
}

/*
 * When to look
 */

static double
look_time(Worker *worker)
{
	Watch	   *watch = worker->watch;

	return watch->fresh || watch->changes != worker->transactions ? watch->rest_until : watch->look_at;
}

/* In a transaction. */
static void
look_and_answer(Worker *worker, bool sync_over)
{
	Watch	   *watch = worker->watch;

	if (watch->changes != worker->transactions)
		watch->delay = 0;
	watch->fresh = false;
	watch->changes = worker->transactions;
	if (worker->origin.copy_of)
		answer_all(watch, TICKET_COPY, worker->origin.copy_of);
	else if (sync_over)
		answer_done(worker, true);
	if (watch->nwaiters > 0)
		look_at_round(worker);
}

double
watch_turn(Worker *worker)
{
	Watch	   *watch = worker->watch;
	double		now = clock_seconds();
	bool		sync_over = false;
	UserState	user;
	double		at;

	read_tickets(worker);
	if (!mixpeek_enabled)
		answer_disabled(watch);
	if (watch->nwaiters == 0)
		return -1;
	if (any_sync(watch))
		sync_over = sync_is_over(worker, watch, now);
	at = look_time(worker);
	if (now < watch->rest_until)
		return watch->rest_until - now;
	if (now < at && !sync_over)
		return watch->patience_ends > now ? Min(at, watch->patience_ends) - now : at - now;

	worker_begin(worker, &user);
	look_and_answer(worker, sync_over);
	worker_commit(worker, &user, false);
	at = clock_seconds();
	watch->rest_until = at + (at - now) * (worker->jobs.count > 0 || worker->schedule.more ? LOOK_REST : 1);
	watch->look_at = at + watch->delay;
	return watch->nwaiters == 0 ? -1 : Max(watch->rest_until, watch->look_at) - at;
}

double
watch_put_off(Worker *worker)
{
	Watch	   *watch = worker->watch;

	ereport(LOG,
			(errmsg("mixpeek_docs: sessions that wait could not be answered: %s", worker->recovery.error)));
	end_round(watch);
	watch->rest_until = clock_seconds() + ERROR_DELAY;
	return ERROR_DELAY;
}
