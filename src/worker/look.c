/*-------------------------------------------------------------------------
 *
 * look.c
 *		When the worker looks for keys, and whose it may take.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/clock.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "state/aside.h"
#include "state/due.h"
#include "utils/timestamp.h"
#include "worker/delegate.h"
#include "worker/look.h"
#include "worker/recovery.h"
#include "worker/rendering.h"

/* Keys that are due are read so many at once where none of the last ones could be taken. */
#define DUE_BATCH		2000

/* After these a rest of so many times as long as that took, and so many seconds. */
#define PASS_BY_REST		10
#define MIN_PASS_BY_REST	0.005

/* Seconds after which the outbox is walked again, whether there is a reason or not. */
#define WALK_EVERY		300

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

/* It has room, and is worth a claim: a transaction for a few keys costs as much as one for hundreds. */
static bool
wants_keys(Account *account)
{
	return account_room(account) > 0 &&
		!(account->server && throttle_is_fed(&account->throttle, clock_seconds(), account->claimed));
}

int
look_widest_room(Worker *worker)
{
	int			room = 0;
	ListCell   *lc;

	foreach(lc, worker->cache->accounts)
	{
		if (wants_keys(lfirst(lc)))
			room = Max(room, account_room(lfirst(lc)));
	}
	return Min(room, CLAIM_MAX);
}

bool
worker_wants_keys(const Worker *worker)
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
worker_is_due(const Worker *worker)
{
	return worker->next_due == -1 ||
		(worker->next_due != 0 && worker->next_due <= clock_now());
}

bool
look_may_read_due(const Worker *worker)
{
	return worker_is_due(worker) && clock_seconds() >= worker->pass_due_by_at;
}

bool
worker_is_paused(const Worker *worker)
{
	return worker->copy_of || !mixpeek_enabled || worker->closing || worker->purpose == WORKER_WATCHES;
}

bool
worker_may_claim(Worker *worker)
{
	if (worker_is_paused(worker))
		return false;
	return delegate_has_answers(worker) || walk_delay(worker, clock_seconds()) == 0 || look_may_read_due(worker) || mirror_cache_has_changed(worker->cache);
}

void
worker_look(Worker *worker)
{
	walk_all(worker);
	worker->walk.due_again = DT_NOBEGIN;
	worker->next_due = -1;
}

/* What was left in the outbox, and among the keys that are due, and may be taken now. */
void
worker_look_left(Worker *worker)
{
	walk_look_left(worker);
	worker->next_due = -1;
}

void
worker_look_excluded(Worker *worker)
{
	ListCell   *lc;

	foreach(lc, worker->cache->accounts)
	{
		Account    *account = lfirst(lc);

		if (!account->excluded || !wants_keys(account))
			continue;
		account->excluded = false;
		worker_look_left(worker);
	}
}

void
worker_look_busy(Worker *worker)
{
	walk_look_busy(worker);
	worker->next_due = -1;
}

void
worker_look_skipped(Worker *worker, double now)
{
	if (worker->skipped_until == 0 || worker->skipped_until > now)
		return;
	worker->skipped_until = 0;
	worker_look_left(worker);
}

/* Nobody tells of what somebody has put into our tables by hand, but now and then it is found. */
void
worker_look_round(Worker *worker, bool woken, bool settings)
{
	if (settings || !shmem_is_told() || clock_seconds() - worker->walk.walked_at > WALK_EVERY)
		worker_look(worker);
	else if (woken)
		worker_look_left(worker);
}

bool
look_has_room(CachedMirror *cached)
{
	if (cached->account == NULL || account_room(cached->account) > 0)
		return true;
	cached->account->excluded = true;
	return false;
}

void
look_note_full(Worker *worker)
{
	ListCell   *lc;

	if (!worker->look && !shmem_changes_wait())
		return;
	foreach(lc, worker->cache->accounts)
	{
		Account    *account = lfirst(lc);

		account->excluded = account->excluded || !wants_keys(account);
	}
}

void
look_later(Worker *worker, double delay)
{
	double		until = clock_seconds() + delay;

	if (worker->skipped_until == 0 || until < worker->skipped_until)
		worker->skipped_until = until;
}

void
look_exclude(Worker *worker)
{
	double		now = clock_seconds();
	ListCell   *lc;

	walk_begin(worker);
	foreach(lc, worker->cache->mirrors)
	{
		CachedMirror *cached = lfirst(lc);
		bool		wanted = cached->account == NULL || wants_keys(cached->account);
		bool		served = delegate_is_served(worker, cached, false);

		if (!wanted)
			cached->account->excluded = true;
		if (cached->blocked_until > now)
			look_later(worker, cached->blocked_until - now);
		if (cached->blocked_until > now || !wanted || !served || aside_is(cached->relation))
			walk_exclude(worker, cached->relation, cached->collection, false);
		else if (cached->account && cached->account->throttle.down)
			walk_exclude(worker, cached->relation, cached->collection, true);
	}
}

/*
 * Keys that are due
 */

List *
look_read_due(Worker *worker, int limit)
{
	TimestampTz now = clock_now();
	TimestampTz until = Min(worker->due_position, now + 1);
	TimestampTz from = walk_first_due_left(worker);
	bool		any_left = from < until;
	bool		left = any_left && !worker->walk.due_turn;
	int			n = worker->due_batch[left];
	TimestampTz last;
	List	   *due;

	n = n > 0 ? n : limit;
	worker->walk.due_turn = left;
	if (!left)
	{
		from = until;
		until = now + 1;
	}
	due = due_read_keys(from, until, n);
	last = due == NIL ? from : ((DueKey *) llast(due))->due;
	if (left)
		walk_pass_due_left(worker, until, list_length(due) < n ? DT_NOEND : last);
	else
		worker->due_position = last;
	if (list_length(due) == n || any_left)
		worker->next_due = -1;
	else
		worker->next_due = due_find_next(now);
	/* so many have one time that the next ones would be the same */
	worker->due_batch[left] = list_length(due) == n && last == from ? n * 2 : 0;
	return due;
}

void
look_rest_due(Worker *worker, double began)
{
	double		now = clock_seconds();

	worker->due_batch[0] = Max(worker->due_batch[0], DUE_BATCH);
	worker->due_batch[1] = Max(worker->due_batch[1], DUE_BATCH);
	worker->pass_due_by_at = now + Max((now - began) * PASS_BY_REST, MIN_PASS_BY_REST);
}

/*
 * Servers
 */

void
look_reload(Worker *worker)
{
	ListCell   *lc;

	if (mirror_cache_reload(worker->cache))
		worker_look_left(worker);
	foreach(lc, worker->cache->accounts)
	{
		Account    *account = lfirst(lc);
		TimestampTz position = account->hurry_position;

		if (!account->hurries)
			continue;
		account->hurries = due_hurry_account(account->name, account->owner,
											 &account->hurry_position, account->hurry_batch);
		worker->moves++;
		if (position == account->hurry_position)
			account->hurry_batch *= 2;	/* so many have one time */
		worker_look_left(worker);
	}
}
