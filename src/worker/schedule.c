/*-------------------------------------------------------------------------
 *
 * schedule.c
 *		What is still to be claimed, and when to claim again.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/clock.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "state/aside.h"
#include "state/document_table.h"
#include "state/due.h"
#include "utils/timestamp.h"
#include "worker/delegate.h"
#include "worker/rendering.h"
#include "worker/schedule.h"
#include "worker/server_check.h"
#include "worker/worker.h"

/* How many due keys are read at once, if none of the last ones could be taken. */
#define DUE_BATCH		2000

/* In that case the next reading waits so many times as long as this one took, and at least so many seconds. */
#define DUE_PAUSE_FACTOR	10
#define MIN_DUE_PAUSE		0.005

/* Seconds after which the records are tried again that another session has locked: its COMMIT wakes, a ROLLBACK does not. */
#define RECORDS_DELAY	0.1

/* Seconds after which the whole outbox is read again, whether there is a reason or not. */
#define RESCAN_EVERY	300

void
schedule_init(Worker *worker)
{
	worker->schedule.due_position = DT_NOBEGIN;
	outbox_scan_init(worker);
	schedule_rescan(worker);
}

/*
 * Room
 */

/* Return how many more keys an account may claim. */
static int
account_room(Account *account)
{
	if (account->server == NULL)
		return account->retry_at <= clock_seconds() || !account->valid ? 1 : 0;
	if (account->full || account->bytes >= MAX_BYTES)
		return 0;
	return Min(throttle_room(&account->throttle, clock_seconds(), account->claimed),
			   1 + (int) ((MAX_BYTES - account->bytes) / account->mean_bytes));
}

/*
 * Check whether an account has room, and enough of it to be worth a claim: a transaction for a few
 * keys costs as much as one for hundreds.
 */
static bool
wants_keys(Account *account)
{
	return account_room(account) > 0 &&
		!(account->server && throttle_is_fed(&account->throttle, clock_seconds(), account->claimed));
}

int
schedule_limit(Worker *worker)
{
	int			room = 0;
	ListCell   *lc;

	if (worker->recovery.careful_claims > 0)
		return 1;
	foreach(lc, worker->cache->accounts)
	{
		if (wants_keys(lfirst(lc)))
			room = Max(room, account_room(lfirst(lc)));
	}
	/* no room: some of the keys may be of accounts that are not known yet */
	return room == 0 ? CLAIM_MAX : Min(room, CLAIM_MAX);
}

bool
schedule_wants_keys(const Worker *worker)
{
	ListCell   *lc;

	foreach(lc, worker->cache->accounts)
	{
		if (wants_keys(lfirst(lc)))
			return true;
	}
	return worker->cache->accounts == NIL;
}

bool
schedule_has_room(CachedMirror *cached)
{
	if (cached->account == NULL || account_room(cached->account) > 0)
		return true;
	cached->account->excluded = true;
	return false;
}

/*
 * Questions
 */

bool
schedule_is_due(const Worker *worker)
{
	return worker->schedule.next_due == DUE_UNKNOWN ||
		(worker->schedule.next_due != 0 && worker->schedule.next_due <= clock_now());
}

bool
schedule_may_read_due(const Worker *worker)
{
	return schedule_is_due(worker) && clock_seconds() >= worker->schedule.due_not_before;
}

bool
schedule_is_paused(const Worker *worker)
{
	return worker->origin.copy_of || !mixpeek_enabled || worker->closing || worker->purpose == WORKER_WATCHES;
}

bool
schedule_is_locked(const Worker *worker)
{
	return worker->schedule.locked_until > clock_seconds();
}

bool
schedule_may_claim(Worker *worker)
{
	if (schedule_is_paused(worker) || schedule_is_locked(worker))
		return false;
	return delegate_has_answers(worker) || outbox_scan_delay(worker, clock_seconds()) == 0 ||
		schedule_may_read_due(worker) || mirror_cache_has_changed(worker->cache) || server_check_is_due(worker);
}

/* Return the seconds until an account takes keys again of which some were left, or -1. */
static double
time_to_room(Worker *worker, double now)
{
	double		wait = -1;
	ListCell   *lc;

	foreach(lc, worker->cache->accounts)
	{
		Account    *account = lfirst(lc);
		double		delay = account->server == NULL ? account->retry_at - now :
			throttle_delay(&account->throttle, now);

		if (account->excluded && delay > 0)
			clock_wait_at_most(&wait, delay);
	}
	return wait;
}

double
schedule_delay(Worker *worker)
{
	double		now = clock_seconds();
	double		wait = time_to_room(worker, now);

	if (worker->schedule.locked_until > now)
		return worker->schedule.locked_until - now;
	clock_wait_at_most(&wait, outbox_scan_delay(worker, now));
	if (worker->schedule.retry_at > 0)
		clock_wait_at_most(&wait, Max(worker->schedule.retry_at - now, 0));
	if (schedule_is_due(worker))
		clock_wait_at_most(&wait, Max(worker->schedule.due_not_before - now, 0));
	else if (worker->schedule.next_due > 0)
		clock_wait_at_most(&wait, Max((worker->schedule.next_due - clock_now()) / 1000000.0, 0));
	return wait;
}

/*
 * Events
 */

void
schedule_read_due_again(Worker *worker)
{
	worker->schedule.scan.due_again = DT_NOBEGIN;
	worker->schedule.next_due = DUE_UNKNOWN;
}

void
schedule_rescan(Worker *worker)
{
	outbox_scan_restart(worker);
	schedule_read_due_again(worker);
}

void
schedule_retry_left(Worker *worker)
{
	outbox_scan_retry_left(worker);
	worker->schedule.next_due = DUE_UNKNOWN;
}

void
schedule_retry_busy(Worker *worker)
{
	worker->schedule.left_busy = false;
	outbox_scan_retry_busy(worker);
	worker->schedule.next_due = DUE_UNKNOWN;
}

void
schedule_retry_in(Worker *worker, double delay)
{
	double		until = clock_seconds() + delay;

	if (worker->schedule.retry_at == 0 || until < worker->schedule.retry_at)
		worker->schedule.retry_at = until;
}

/* A time before due_position must be read again, and the wait must end in time. */
void
schedule_note_due(Worker *worker, TimestampTz due)
{
	Schedule   *schedule = &worker->schedule;

	if (due == 0)
		return;
	if (due < schedule->due_position)
		schedule->scan.due_again = Min(schedule->scan.due_again, due);
	if (schedule->next_due != DUE_UNKNOWN && (schedule->next_due == 0 || due < schedule->next_due))
		schedule->next_due = due;
}

/*
 * Nothing announces what a superuser changes in our tables by hand, so the whole outbox is read now
 * and then; and always where no shared memory brings hints.
 */
void
schedule_take_hints(Worker *worker, bool woken, bool settings)
{
	if (settings || !shmem_is_attached() || clock_seconds() - worker->schedule.scan.restarted_at > RESCAN_EVERY)
		schedule_rescan(worker);
	else if (woken)
		schedule_retry_left(worker);
	if (woken)
		worker->schedule.locked_until = 0;
}

void
schedule_check(Worker *worker)
{
	ListCell   *lc;

	if (worker->schedule.retry_at != 0 && worker->schedule.retry_at <= clock_seconds())
	{
		worker->schedule.retry_at = 0;
		schedule_retry_left(worker);
	}
	foreach(lc, worker->cache->accounts)
	{
		Account    *account = lfirst(lc);

		if (!account->excluded || !wants_keys(account))
			continue;
		account->excluded = false;
		schedule_retry_left(worker);
	}
}

/*
 * The records
 */

bool
schedule_lock_records(Worker *worker)
{
	if (document_table_try_lock())
		return true;
	worker->schedule.locked_until = clock_seconds() + RECORDS_DELAY;
	return false;
}

/*
 * Parts of a claim
 */

void
schedule_reload_accounts(Worker *worker)
{
	ListCell   *lc;

	if (mirror_cache_reload(worker->cache))
		schedule_retry_left(worker);
	foreach(lc, worker->cache->accounts)
	{
		Account    *account = lfirst(lc);
		TimestampTz position = account->hurry_position;

		if (!account->hurries)
			continue;
		account->hurries = due_hurry_account(account->name, account->server ? account->server->place : 0,
											 account->owner,
											 &account->hurry_position, account->hurry_batch);
		worker->moves++;
		if (position == account->hurry_position)
			account->hurry_batch *= 2;	/* more of them have one time than
										 * were read */
		schedule_retry_left(worker);
	}
}

void
schedule_begin_claim(Worker *worker)
{
	double		now = clock_seconds();
	ListCell   *lc;

	outbox_scan_begin_claim(worker);
	foreach(lc, worker->cache->mirrors)
	{
		CachedMirror *cached = lfirst(lc);
		bool		wanted = cached->account == NULL || wants_keys(cached->account);
		bool		served = delegate_is_served(worker, cached, false);

		if (!wanted)
			cached->account->excluded = true;
		if (cached->blocked_until > now)
			schedule_retry_in(worker, cached->blocked_until - now);
		if (cached->blocked_until > now || !wanted || !served || aside_is(cached->relation))
			outbox_scan_exclude(worker, cached->relation, cached->collection, false);
		else if (cached->account && cached->account->throttle.down)
			outbox_scan_exclude(worker, cached->relation, cached->collection, true);
	}
}

/* Neither due keys wait for all entries, nor entries for all due keys: each gets half. */
int
schedule_due_share(Worker *worker, int limit)
{
	if (outbox_scan_delay(worker, clock_seconds()) != 0)
		return limit;
	worker->schedule.due_first = !worker->schedule.due_first;
	return (limit + worker->schedule.due_first) / 2;
}

/*
 * Due records that were left, as their mirrors took none, are read again from the first of them on;
 * all others stand behind where the last claim ended.  The two take turns.
 */
List *
schedule_read_due(Worker *worker, int limit)
{
	TimestampTz now = clock_now();
	TimestampTz until = Min(worker->schedule.due_position, now + 1);
	TimestampTz from = outbox_scan_first_due_left(worker);
	bool		any_left = from < until;
	bool		left = any_left && !worker->schedule.scan.due_turn;
	int			n = worker->schedule.due_batch[left];
	TimestampTz last;
	List	   *due;

	n = n > 0 ? n : limit;
	worker->schedule.scan.due_turn = left;
	if (!left)
	{
		from = until;
		until = now + 1;
	}
	due = due_read_keys(from, until, n);
	last = due == NIL ? from : ((DueKey *) llast(due))->due;
	if (left)
		outbox_scan_pass_due_left(worker, until, list_length(due) < n ? DT_NOEND : last);
	else
		worker->schedule.due_position = last;
	if (list_length(due) == n || any_left)
		worker->schedule.next_due = DUE_UNKNOWN;
	else
		worker->schedule.next_due = due_find_next(now);

	/*
	 * if more have one time than were read, the next reading would return the
	 * same ones
	 */
	worker->schedule.due_batch[left] = list_length(due) == n && last == from ? n * 2 : 0;
	return due;
}

void
schedule_pause_due(Worker *worker, double began)
{
	Schedule   *schedule = &worker->schedule;
	double		now = clock_seconds();

	schedule->due_batch[0] = Max(schedule->due_batch[0], DUE_BATCH);
	schedule->due_batch[1] = Max(schedule->due_batch[1], DUE_BATCH);
	schedule->due_not_before = now + Max((now - began) * DUE_PAUSE_FACTOR, MIN_DUE_PAUSE);
}

/* If something was not read, accounts that are full now are waited for. */
void
schedule_end_scan(Worker *worker)
{
	ListCell   *lc;

	outbox_scan_end_claim(worker, schedule_wants_keys(worker));
	if (!worker->schedule.more && !shmem_changes_wait())
		return;
	foreach(lc, worker->cache->accounts)
	{
		Account    *account = lfirst(lc);

		account->excluded = account->excluded || !wants_keys(account);
	}
}
