/*-------------------------------------------------------------------------
 *
 * watch.c
 *		The worker's answers to sessions that wait in mixpeek.sync() or wait().
 *
 * Sessions are answered in rounds.  A round begins with all sessions that wait at the
 * time, and waits, one after the other, until
 *
 *		the outbox holds no entry that was committed before the round began;
 *		the jobs that exist then have been settled;
 *		the records that are pending then have been mirrored or have failed once.
 *
 * Sessions that come later wait for the next round; if they joined the current one, it
 * might never end.  A check continues where the last one found something that was not
 * done (watch_round.c), so it is short, and the time between two checks is such that
 * they take only a small part of the worker's time.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/transam.h"
#include "base/clock.h"
#include "base/settings.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "state/origin.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "worker/delegate.h"
#include "worker/outcome.h"
#include "worker/watch.h"
#include "worker/watch_round.h"
#include "worker/worker.h"

/* Seconds until the next check after an error. */
#define ERROR_DELAY		5.0

/* While there is other work, the next check comes after so many times as long as the last one took. */
#define CHECK_REST		30

/* Seconds until the next check if nothing has changed, doubled each time. */
#define MIN_DELAY		0.02
#define MAX_DELAY		1.0

/* Seconds that mixpeek.sync() waits for locked tables when nothing else is left. */
#define LOCK_PATIENCE	1

/* A session that waits. */
typedef struct Waiter
{
	Ticket	   *place;			/* its ticket in shared memory */
	Ticket		ticket;			/* a copy, without the answer */
	bool		in_round;
} Waiter;

struct Watch
{
	Tickets    *tickets;
	uint32		news;			/* Tickets.news when they were last read */
	bool		read;			/* they were read at least once */
	int			nwaiters;
	Waiter	   *waiters;		/* room for all tickets */
	bool		fresh;			/* some have come since the last check */
	double		patience_ends;	/* when mixpeek.sync() stops to wait for
								 * locked tables; 0: something else is left */
	WatchRound	round;

	/* when to check */
	uint64		changes;		/* Worker.transactions at the last check */
	double		rest_until;		/* no check before this time */
	double		delay;			/* seconds; see MIN_DELAY */
	double		check_at;		/* the next check if nothing changes */
};

Watch *
watch_create(Tickets *tickets)
{
	Watch	   *watch = palloc0(sizeof(Watch));

	watch->tickets = tickets;
	watch->news = pg_atomic_read_u32(&tickets->news) - 1;
	watch->waiters = palloc0(sizeof(Waiter) * tickets->n);
	watch_round_init(&watch->round);
	return watch;
}

bool
watch_is_over(const Watch *watch)
{
	return watch->read && watch->nwaiters == 0;
}

/*
 * Sessions that wait
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

/* Take in a new session.  mixpeek.sync() also has the worker claim what it has left before. */
static void
note_new_waiter(Worker *worker, const Waiter *waiter)
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
			note_new_waiter(worker, waiter);
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

static bool
has_sync_waiters(const Watch *watch)
{
	for (int i = 0; i < watch->nwaiters; i++)
	{
		if (watch->waiters[i].ticket.kind == TICKET_SYNC)
			return true;
	}
	return false;
}

/*
 * Answers
 */

/* Answer a session and remove it; the last one takes its place in the array. */
static void
answer_waiter(Watch *watch, Waiter *waiter, const TicketAnswer *answer)
{
	ticket_answer(waiter->place, waiter->ticket.number, answer);
	*waiter = watch->waiters[--watch->nwaiters];
}

static void
answer_all(Watch *watch, TicketResult result, const char *text)
{
	TicketAnswer answer = {result};

	if (text)
		strlcpy(answer.text, text, pg_mbcliplen(text, strlen(text), TICKET_TEXT - 1) + 1);
	while (watch->nwaiters > 0)
		answer_waiter(watch, &watch->waiters[0], &answer);
}

/* Append a line to an answer's text, cut off where there is no room. */
static void
append_text_line(TicketAnswer *answer, const char *line)
{
	size_t		used = strlen(answer->text);
	size_t		len = strlen(line);

	if (used + 2 >= TICKET_TEXT)
		return;
	if (used > 0)
		answer->text[used++] = '\n';
	len = pg_mbcliplen(line, len, TICKET_TEXT - 1 - used);
	for (size_t i = 0; i < len; i++)
		answer->text[used + i] = line[i] == '\n' ? ' ' : line[i];
	answer->text[used + len] = '\0';
}

/* Return why the account's server cannot be used at present, or NULL. */
static char *
describe_trouble(const Account *account)
{
	if (account->problem && account->retry_at > clock_seconds())
		return account->problem;
	if (account->server && account->throttle.down && account->setback)
		return psprintf("server \"%s\" is not usable: %s", account->name, account->setback);
	return NULL;
}

/* Check whether something was left because it is locked by another session, or cannot be read. */
static bool
has_left(const Worker *worker)
{
	return worker->schedule.retry_at > 0 || schedule_is_locked(worker);
}

/*
 * Add to an answer what was not done.  Why a server cannot be used is shown only to
 * roles that may act for the tables' owner.
 */
static void
describe_left(const Worker *worker, const Waiter *waiter, TicketAnswer *answer)
{
	ListCell   *lc;

	answer->left = has_left(worker);
	foreach(lc, worker->cache->accounts)
	{
		const Account *account = lfirst(lc);
		char	   *trouble = describe_trouble(account);

		if (trouble == NULL)
			continue;
		if (has_privs_of_role(waiter->ticket.role, account->owner))
			append_text_line(answer, trouble);
		else
			answer->hidden = true;
	}
}

/* Answer the sessions of the round or, if all_syncs is true, all that are in mixpeek.sync(). */
static void
answer_done(Worker *worker, bool all_syncs)
{
	Watch	   *watch = worker->watch;

	for (int i = watch->nwaiters - 1; i >= 0; i--)
	{
		Waiter	   *waiter = &watch->waiters[i];
		TicketAnswer answer = {TICKET_DONE};

		if (all_syncs ? waiter->ticket.kind != TICKET_SYNC : !waiter->in_round)
			continue;
		if (waiter->ticket.kind == TICKET_SYNC)
			describe_left(worker, waiter, &answer);
		answer_waiter(watch, waiter, &answer);
	}
}

/*
 * Note on the tickets that what they wait for was not done at this check.  A worker
 * that only watches answers them: it will not be done.
 */
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
		ticket_note_checked(watch->waiters[i].place, watch->waiters[i].ticket.number);
}

static void
answer_disabled(Watch *watch)
{
	TicketAnswer answer = {TICKET_DISABLED};

	for (int i = watch->nwaiters - 1; i >= 0; i--)
	{
		if (watch->waiters[i].ticket.kind == TICKET_SYNC)
			answer_waiter(watch, &watch->waiters[i], &answer);
	}
}

/*
 * Rounds
 */

/* Begin a round with all sessions that wait, unless the database is a copy. */
static void
start_round(Watch *watch)
{
	TransactionId xmax = InvalidTransactionId;
	Origin		origin;
	char	   *problem = origin_problem(&origin);

	if (problem)
	{
		answer_all(watch, TICKET_COPY, problem);
		return;
	}
	for (int i = 0; i < watch->nwaiters; i++)
	{
		Waiter	   *waiter = &watch->waiters[i];

		waiter->in_round = true;
		if (i == 0 || TransactionIdFollows(waiter->ticket.xmax, xmax))
			xmax = waiter->ticket.xmax;
	}
	watch_round_start(&watch->round, xmax);
}

/*
 * A worker that exists for one session's mixpeek.sync() starts nothing new when the
 * round is over, and lets its jobs end before it answers.  Are there any?
 */
static bool
must_end_jobs(Worker *worker)
{
	if (worker->purpose != WORKER_SYNCS || worker->jobs.count == 0)
		return false;
	worker->closing = true;
	return true;
}

/* Answer the sessions of a round that is over. */
static void
finish_round(Worker *worker)
{
	Watch	   *watch = worker->watch;

	watch->delay = must_end_jobs(worker) ? MAX_DELAY : 0;
	if (worker->closing && worker->jobs.count > 0)
		return;
	answer_done(worker, false);
	watch_round_end(&watch->round);
}

static void
check_round(Worker *worker)
{
	Watch	   *watch = worker->watch;

	if (watch->round.stage != STAGE_NONE && !round_has_waiters(watch))
		watch_round_end(&watch->round);
	if (watch->round.stage == STAGE_NONE)
		start_round(watch);
	if (watch->nwaiters == 0)
		return;
	switch (watch_round_check(worker, &watch->round))
	{
		case WATCH_BLOCKED:
			watch->delay = watch->delay > 0 ? Min(watch->delay * 2, MAX_DELAY) : MIN_DELAY;
			answer_blocked(worker);
			break;
		case WATCH_UNDONE:
			watch->delay = 0;
			break;
		case WATCH_PASSED:
			finish_round(worker);
			break;
	}
}

/*
 * mixpeek.sync(), which also ends when nothing is left that is due soon
 */

/* Check whether nothing is left that is due within SYNC_PATIENCE. */
static bool
has_nothing_due(const Worker *worker)
{
	if (worker->jobs.count > 0 || worker->recovery.rest_until > clock_seconds() || delegate_is_busy(worker))
		return false;
	if (schedule_is_locked(worker))
		return true;
	if (worker->schedule.more || worker->schedule.next_due == DUE_UNKNOWN)
		return false;
	return worker->schedule.next_due == 0 ||
		worker->schedule.next_due > clock_in(SYNC_PATIENCE * 1000);
}

/* Check whether the sessions in mixpeek.sync() are to be answered.  Locked tables are waited for only for LOCK_PATIENCE. */
static bool
sync_is_over(const Worker *worker, Watch *watch, double now)
{
	if (worker->jobs.count > 0 || delegate_is_busy(worker))
		watch->patience_ends = 0;
	if (!has_nothing_due(worker))
		return false;
	if (has_left(worker) && watch->patience_ends == 0)
		watch->patience_ends = now + LOCK_PATIENCE;
	return !has_left(worker) || now >= watch->patience_ends;
}

/*
 * The worker's turn
 */

static double
next_check(const Worker *worker)
{
	const Watch *watch = worker->watch;

	return watch->fresh || watch->changes != worker->transactions ? watch->rest_until : watch->check_at;
}

/* Must be called in a transaction. */
static void
check_and_answer(Worker *worker, bool sync_over)
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
		check_round(worker);
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
	if (has_sync_waiters(watch))
		sync_over = sync_is_over(worker, watch, now);
	at = next_check(worker);
	if (now < watch->rest_until)
		return watch->rest_until - now;
	if (now < at && !sync_over)
		return watch->patience_ends > now ? Min(at, watch->patience_ends) - now : at - now;

	worker_begin(worker, &user);
	check_and_answer(worker, sync_over);
	worker_commit(worker, &user, false);
	at = clock_seconds();
	watch->rest_until = at + (at - now) * (worker->jobs.count > 0 || worker->schedule.more ? CHECK_REST : 1);
	watch->check_at = at + watch->delay;
	return watch->nwaiters == 0 ? -1 : Max(watch->rest_until, watch->check_at) - at;
}

double
watch_put_off(Worker *worker)
{
	Watch	   *watch = worker->watch;

	ereport(LOG,
			(errmsg("mixpeek_docs: could not check what waiting sessions wait for: %s", worker->recovery.error)));
	watch_round_end(&watch->round);
	watch->rest_until = clock_seconds() + ERROR_DELAY;
	return ERROR_DELAY;
}
