/*-------------------------------------------------------------------------
 *
 * look.c
 *		When the worker looks for keys, and whose it may take.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "aside.h"
#include "clock.h"
#include "delegate.h"
#include "document.h"
#include "look.h"
#include "recovery.h"
#include "mixpeek_docs.h"
#include "rendering.h"
#include "shmem.h"
#include "utils/timestamp.h"

/* Keys that are due are read so many at once where none of the last ones could be taken. */
#define DUE_BATCH		2000

/* After these a rest of so many times as long as that took, and so many seconds. */
#define PASS_BY_REST		10
#define MIN_PASS_BY_REST	0.005

/* Seconds after which the outbox is walked again, whether there is a reason or not. */
#define WALK_EVERY		300

static int
connection_room(Connection *connection)
{
	if (connection->server == NULL)
		return connection->retry_at <= limits_now() || !connection->valid ? 1 : 0;
	if (connection->full || connection->bytes >= MAX_BYTES)
		return 0;
	return Min(limits_room(&connection->limits, limits_now(), connection->claimed),
			   1 + (int) ((MAX_BYTES - connection->bytes) / connection->mean_bytes));
}

/* It has room, and is worth a claim: a transaction for a few keys costs as much as one for hundreds. */
static bool
wants_keys(Connection *connection)
{
	return connection_room(connection) > 0 &&
		!(connection->server && limits_is_fed(&connection->limits, limits_now(), connection->claimed));
}

int
look_widest_room(Worker *worker)
{
	int			room = 0;
	ListCell   *lc;

	foreach(lc, worker->targets->connections)
	{
		if (wants_keys(lfirst(lc)))
			room = Max(room, connection_room(lfirst(lc)));
	}
	return Min(room, CLAIM_MAX);
}

bool
worker_wants_keys(const Worker *worker)
{
	ListCell   *lc;

	foreach(lc, worker->targets->connections)
	{
		if (wants_keys(lfirst(lc)))
			return true;
	}
	return worker->targets->connections == NIL;
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
	return worker_is_due(worker) && limits_now() >= worker->pass_due_by_at;
}

bool
worker_is_paused(const Worker *worker)
{
	return worker->copy_of || !mixpeek_enabled || worker->closing || worker->purpose == WORKER_LOOKS;
}

bool
worker_may_claim(Worker *worker)
{
	if (worker_is_paused(worker))
		return false;
	return delegate_has_answers(worker) || walk_delay(worker, limits_now()) == 0 || look_may_read_due(worker) || targets_have_changed(worker->targets);
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

	foreach(lc, worker->targets->connections)
	{
		Connection *connection = lfirst(lc);

		if (!connection->excluded || !wants_keys(connection))
			continue;
		connection->excluded = false;
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
	if (settings || !shmem_is_told() || limits_now() - worker->walk.walked_at > WALK_EVERY)
		worker_look(worker);
	else if (woken)
		worker_look_left(worker);
}

bool
look_has_room(Target *target)
{
	if (target->connection == NULL || connection_room(target->connection) > 0)
		return true;
	target->connection->excluded = true;
	return false;
}

void
look_note_full(Worker *worker)
{
	ListCell   *lc;

	if (!worker->look && !shmem_changes_wait())
		return;
	foreach(lc, worker->targets->connections)
	{
		Connection *connection = lfirst(lc);

		connection->excluded = connection->excluded || !wants_keys(connection);
	}
}

void
look_later(Worker *worker, double delay)
{
	double		until = limits_now() + delay;

	if (worker->skipped_until == 0 || until < worker->skipped_until)
		worker->skipped_until = until;
}

void
look_exclude(Worker *worker)
{
	double		now = limits_now();
	ListCell   *lc;

	walk_begin(worker);
	foreach(lc, worker->targets->targets)
	{
		Target	   *target = lfirst(lc);
		bool		wanted = target->connection == NULL || wants_keys(target->connection);
		bool		served = delegate_is_served(worker, target, false);

		if (!wanted)
			target->connection->excluded = true;
		if (target->blocked_until > now)
			look_later(worker, target->blocked_until - now);
		if (target->blocked_until > now || !wanted || !served || aside_is(target->relation))
			walk_exclude(worker, target->relation, target->collection, false);
		else if (target->connection && target->connection->limits.down)
			walk_exclude(worker, target->relation, target->collection, true);
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
	due = document_read_due(from, until, n);
	last = due == NIL ? from : ((DueKey *) llast(due))->due;
	if (left)
		walk_pass_due_left(worker, until, list_length(due) < n ? DT_NOEND : last);
	else
		worker->due_position = last;
	if (list_length(due) == n || any_left)
		worker->next_due = -1;
	else
		worker->next_due = document_next_due(now);
	/* so many have one time that the next ones would be the same */
	worker->due_batch[left] = list_length(due) == n && last == from ? n * 2 : 0;
	return due;
}

void
look_rest_due(Worker *worker, double began)
{
	double		now = limits_now();

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

	if (targets_reload(worker->targets))
		worker_look_left(worker);
	foreach(lc, worker->targets->connections)
	{
		Connection *connection = lfirst(lc);
		TimestampTz position = connection->hurry_position;

		if (!connection->hurries)
			continue;
		connection->hurries = document_hurry(connection->name, connection->owner,
											 &connection->hurry_position, connection->hurry_batch);
		worker->moves++;
		if (position == connection->hurry_position)
			connection->hurry_batch *= 2;	/* so many have one time */
		worker_look_left(worker);
	}
}
