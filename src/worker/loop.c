/*-------------------------------------------------------------------------
 *
 * loop.c
 *		The worker's process: turn by turn, until it is told to end.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <math.h>

#include "access/xact.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/process.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "state/aside.h"
#include "state/origin.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/delegate.h"
#include "worker/loop.h"
#include "worker/recovery.h"
#include "worker/watch.h"

/* Settle when so many jobs have ended, or the first of them this long ago. */
#define SETTLE_JOBS		64
#define SETTLE_DELAY	0.01

/* Where it cannot be read what the worker before this one died at, it is tried again in so many milliseconds. */
#define RECALL_DELAY	1000

/* Bytes that a turn keeps for the next one. */
#define TURN_SIZE		(512 * 1024)

static bool
settle_now(const Worker *worker, double now)
{
	if (worker->nended == 0 || now < worker->ended_at)
		return false;
	return worker->nended >= SETTLE_JOBS || worker->nended == worker->njobs ||
		worker->kept_bytes > FULL_KEPT_BYTES ||
		now - worker->ended_at >= SETTLE_DELAY;
}

static void
wait_at_most(double *wait, double delay)
{
	if (*wait < 0 || delay < *wait)
		*wait = Max(delay, 0);
}

/* Seconds until a turn has something to do without being woken, or -1. */
static double
time_to_next_turn(Worker *worker, double until_send)
{
	double		now = clock_seconds();
	double		wait = until_send;
	double		until_walk;
	double		agents = agents_wait(worker->agents);
	ListCell   *lc;

	if (agents >= 0)
		wait_at_most(&wait, agents);
	if (worker->rest_until > now)
	{
		wait_at_most(&wait, worker->rest_until - now);
		return wait;
	}
	if (worker_may_claim(worker))
		return 0;
	if (worker->nended > 0)
		wait_at_most(&wait, Max(worker->ended_at - now, 0) + SETTLE_DELAY);
	if (worker_is_paused(worker))
		return wait;
	until_walk = walk_delay(worker, now);
	if (until_walk >= 0)
		wait_at_most(&wait, until_walk);
	if (worker->skipped_until > 0)
		wait_at_most(&wait, worker->skipped_until - now);
	if (worker_is_due(worker))
		wait_at_most(&wait, worker->pass_due_by_at - now);
	else if (worker->next_due > 0)
		wait_at_most(&wait, (worker->next_due - clock_now()) / 1000000.0);
	foreach(lc, worker->cache->accounts)
	{
		Account    *account = lfirst(lc);
		double		delay = account->server == NULL ? account->retry_at - now :
			throttle_delay(&account->throttle, now);

		if (account->excluded && delay > 0)
			wait_at_most(&wait, delay);
	}
	return wait;
}

/* For recovery_run(). */
static void
send_part(Worker *worker)
{
	worker->send_in = worker_send(worker);
}

static void
watch_part(Worker *worker)
{
	worker->watch_in = watch_turn(worker);
}

static double
send_ready(Worker *worker)
{
	worker->send_in = -1;
	(void) recovery_run(worker, send_part);
	return worker->send_in;
}

/* Those who wait are told when the worker has seen that it is done. */
static double
look_for_waiters(Worker *worker)
{
	worker->watch_in = -1;
	if (worker->rest_until <= clock_seconds() && !recovery_run_lightly(worker, watch_part))
		worker->watch_in = watch_put_off(worker);
	return worker->watch_in;
}

/* One turn up to the wait; returns how long to wait in milliseconds, or -1. */
static long
turn(Worker *worker)
{
	double		now = clock_seconds();
	double		watch_in;
	double		wait;
	double		log_in;
	bool		settle;

	MemoryContextReset(worker->turn_context);
	MemoryContextSwitchTo(worker->turn_context);
	(void) recovery_run(worker, delegate_turn);
	worker_look_skipped(worker, now);
	worker_look_excluded(worker);
	settle = settle_now(worker, now);
	if (now >= worker->rest_until && (settle || worker_may_claim(worker)))
	{
		(void) send_ready(worker);	/* the server is not to wait for our
									 * transaction */
		http_push(worker->http);
		(void) recovery_run(worker, settle ? worker_settle_ended : worker_claim_next);
	}
	(void) recovery_run(worker, delegate_turn);
	watch_in = look_for_waiters(worker);
	wait = send_ready(worker);
	wait = time_to_next_turn(worker, wait);
	log_in = failure_log_write(worker->failure_log, now, worker->njobs == 0 && wait != 0);
	if (log_in >= 0)
		wait_at_most(&wait, log_in);
	if (watch_in >= 0)
		wait_at_most(&wait, watch_in);
	return wait < 0 ? -1 : (long) ceil(wait * 1000);
}

static Worker *
create_worker(WorkerPurpose purpose, Tickets *tickets)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "mixpeek worker", ALLOCSET_DEFAULT_SIZES);
	Worker	   *worker = MemoryContextAllocZero(context, sizeof(Worker));
	MemoryContext old = MemoryContextSwitchTo(context);

	worker->context = context;
	worker->turn_context = AllocSetContextCreate(context, "mixpeek turn", TURN_SIZE, TURN_SIZE,
												 ALLOCSET_DEFAULT_MAXSIZE);
	worker->answer_context = AllocSetContextCreate(context, "mixpeek answer", ALLOCSET_DEFAULT_SIZES);
	worker->error_context = AllocSetContextCreate(context, "mixpeek error", ALLOCSET_SMALL_SIZES);
	worker->purpose = purpose;
	worker->watch = watch_create(tickets);
	worker->http = http_client_create(true);
	worker->cache = mirror_cache_create(context);
	worker->agents = agents_create(context);
	dlist_init(&worker->to_write);
	worker->failure_log = failure_log_create();
	worker->due_position = DT_NOBEGIN;
	worker->unrecovered = true;
	walk_init(worker);
	worker_look(worker);
	dlist_init(&worker->ended);
	MemoryContextSwitchTo(old);
	return worker;
}

static bool
extension_exists(void)
{
	bool		exists;

	StartTransactionCommand();
	exists = OidIsValid(get_extension_oid("mixpeek_docs", true));
	CommitTransactionCommand();
	return exists;
}

/* The latch is a hint, which whatever waits may take; what it stood for is still there. */
static bool
is_woken(const Worker *worker)
{
	return MyLatch->is_set || ConfigReloadPending || InterruptPending || worker->upset || shmem_is_woken();
}

/* Interrupts, settings, and whether the extension is still there. */
static void
take_signals(Worker *worker)
{
	bool		settings = ConfigReloadPending;

	worker->upset = false;
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (settings)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	worker_look_round(worker, shmem_take_wake(), settings);
	worker->leave = !extension_exists();
}

/* A copy of a database waits until somebody says what it is. */
static void
report_copy(Worker *worker)
{
	if (worker->copy_of && !worker->copy_reported)
		ereport(LOG,
				(errmsg("mixpeek_docs: nothing is mirrored: %s", worker->copy_of),
				 errhint("%s", origin_hint)));
	worker->copy_reported = worker->copy_of != NULL;
}

/* It is looked at again with the next claim. */
static void
forget_copy(Worker *worker)
{
	if (worker->copy_of)
		pfree(worker->copy_of);
	worker->copy_of = NULL;
}

/* What the one before it was doing when it died is not done at once. */
static void
recall_crash(Worker *worker)
{
	crash_open(MyDatabaseId, CRASH_WORKER);
	worker_recall(worker);
	crash_recalled();
}

/* Returns when there is no extension any more, or nobody who has waited for it. */
static void
run_worker(Worker *worker)
{
	while (!worker->leave)
	{
		long		timeout = turn(worker);

		report_copy(worker);
		if (worker->purpose != WORKER_MIRRORS && watch_is_over(worker->watch))
			return;
		http_wait(worker->http, is_woken(worker) ? 0 : timeout, COMPAT_WAIT_EVENT);
		if (is_woken(worker) && recovery_run(worker, take_signals))
			forget_copy(worker);
		worker_collect(worker);
	}
}

static void
start_process(void)
{
	pqsignal(SIGTERM, crash_die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
}

/* Once it is the database's only one. */
static void
work(WorkerPurpose purpose, Tickets *tickets)
{
	Worker	   *worker;

	if (!extension_exists())
		return;
	StartTransactionCommand();
	lock_reconciler();
	CommitTransactionCommand();
	worker = create_worker(purpose, tickets);
	while (!recovery_run(worker, recall_crash))
		http_wait(worker->http, RECALL_DELAY, COMPAT_WAIT_EVENT);
	run_worker(worker);
}

/*
 * Entry point; the argument is the database's oid.  Ends when the database has no
 * extension (any more), or at SIGTERM; should an error end it, the launcher decides whether
 * to start another.
 */
void
mixpeek_worker_main(Datum main_arg)
{
	Oid			database = DatumGetObjectId(main_arg);

	start_process();
	if (!shmem_attach_worker(database))
		proc_exit(0);
	COMPAT_GIVE_MEMORY_BACK();
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	process_override_settings();
	work(WORKER_MIRRORS, shared_tickets);
	shmem_report_absent(database);
	proc_exit(0);
}

/*
 * Entry point of a worker that a session has started; the argument is the segment that holds
 * its ticket.  Ends when that has its answer, or the session ends it.
 */
void
mixpeek_ticket_worker_main(Datum main_arg)
{
	dsm_segment *segment;
	Tickets    *tickets;
	Oid			database;
	bool		syncs;

	start_process();
	segment = dsm_attach(DatumGetUInt32(main_arg));
	if (segment == NULL)
		proc_exit(0);			/* the session has gone already */
	tickets = dsm_segment_address(segment);
	database = tickets->tickets[0].database;
	syncs = tickets->tickets[0].kind == TICKET_SYNC;
	COMPAT_GIVE_MEMORY_BACK();
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	process_override_settings();
	work(syncs ? WORKER_SYNCS : WORKER_WATCHES, tickets);
	proc_exit(0);
}
