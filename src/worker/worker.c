/*-------------------------------------------------------------------------
 *
 * worker.c
 *		The worker: makes the API's documents match the rows.
 *
 * A dirty key's way, turn by turn:
 *
 *		claim	short transaction: keys leave the outbox, their records are fetched, their
 *				rows read and rendered (claim.c, prepare.c).  If the API has all of it
 *				already, nothing is to do; otherwise the intent goes into
 *				mixpeek.documents, and is flushed before a byte is sent (decision.c).
 *				Rows whose reading calls functions of users are read by agents of
 *				their owners, and their keys are claimed again with the answer (delegate.c)
 *		send	no transaction: requests as the accounts allow (request.c)
 *		collect no transaction: each answer changes what the job knows, and may call
 *				for another request (request.c, lookup.c, outcome.c, job.c)
 *		write	by agents, if the row has columns for what came back (delegate.c)
 *		settle	short transaction: what became of the key is stored (settle.c)
 *
 * What makes this safe against a crash at any point:
 *
 * - A key is in the outbox, or its record is "sending" or "pending".  Both change in one
 *   transaction, so there is no moment at which it is in neither.  Records that a dead
 *   worker left as "sending" become "pending" (recovery.c).
 * - Only one worker works on a database (a session lock), and it has one job a key
 *   (jobs.c): no two requests for a key are under way at once.  The entry of a key that
 *   becomes dirty while its job is under way stays in the outbox.
 * - A record that might have caused a create is in_doubt until the API has answered, or a
 *   look-up by marker has found out.  A request that ended without an answer may still be
 *   at work on the other side, so its key waits for request_timeout before it is
 *   tried again.
 *
 * When there is something to claim is decided in schedule.c; what happens to an error, in
 * recovery.c.  This file has the turns, and the process that goes through them.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <math.h>

#include "access/xact.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/lock.h"
#include "base/process.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "catalog/pg_authid.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/claim.h"
#include "worker/settle.h"
#include "worker/watch.h"
#include "worker/worker.h"

/* Milliseconds until the notes of a worker that died are read again, if they could not be. */
#define RECALL_DELAY	1000

/* Bytes of memory that a turn keeps for the next one. */
#define TURN_SIZE		(512 * 1024)

/*
 * Transactions
 */

void
worker_begin(Worker *worker, UserState *user)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, "mixpeek_docs: claim and settle");
	user_switch(user, BOOTSTRAP_SUPERUSERID);
}

/* An outcome needs no flush: after a crash it is found out again. */
void
worker_commit(Worker *worker, const UserState *user, bool flush)
{
	user_restore(user);
	flush = flush && !WEAKENED(WEAKEN_INTENT_FLUSH);
	if (flush ? synchronous_commit < SYNCHRONOUS_COMMIT_ON : synchronous_commit > SYNCHRONOUS_COMMIT_OFF)
		(void) set_config_option("synchronous_commit", flush ? "on" : "off", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	CommitTransactionCommand();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextSwitchTo(worker->turn_context);
}

/*
 * A turn
 */

/* Return the seconds until a turn has something to do that no signal announces, or -1. */
static double
time_to_next_turn(Worker *worker, double until_send)
{
	double		now = clock_seconds();
	double		wait = until_send;

	clock_wait_at_most(&wait, agents_wait(worker->agents));
	if (worker->recovery.rest_until > now)
	{
		clock_wait_at_most(&wait, worker->recovery.rest_until - now);
		return wait;
	}
	if (schedule_may_claim(worker))
		return 0;
	clock_wait_at_most(&wait, settle_delay(worker, now));
	if (!schedule_is_paused(worker))
		clock_wait_at_most(&wait, schedule_delay(worker));
	return wait;
}

/* Send what is ready; for recovery_run(). */
static void
send_ready(Worker *worker)
{
	worker->send_in = request_send_ready(worker);
}

/* Answer the tickets; for recovery_run_lightly(). */
static void
watch_tickets(Worker *worker)
{
	worker->watch_in = watch_turn(worker);
}

static double
run_send(Worker *worker)
{
	worker->send_in = -1;
	(void) recovery_run(worker, send_ready);
	return worker->send_in;
}

/* Answer the sessions that wait, once the worker has seen that what they wait for is done. */
static double
run_watch(Worker *worker)
{
	worker->watch_in = -1;
	if (worker->recovery.rest_until <= clock_seconds() && !recovery_run_lightly(worker, watch_tickets))
		worker->watch_in = watch_put_off(worker);
	return worker->watch_in;
}

/* Go through one turn up to its wait; returns how long to wait, in milliseconds, or -1. */
static long
run_turn(Worker *worker)
{
	double		now = clock_seconds();
	double		watch_in;
	double		wait;
	bool		settle;

	MemoryContextReset(worker->turn_context);
	MemoryContextSwitchTo(worker->turn_context);
	(void) recovery_run(worker, delegate_turn);
	schedule_check(worker);
	settle = settle_is_time(worker, now);
	if (now >= worker->recovery.rest_until && (settle || schedule_may_claim(worker)))
	{
		/* the API need not wait for our transaction */
		(void) run_send(worker);
		http_push(worker->http);
		(void) recovery_run(worker, settle ? settle_ended : claim_next);
	}
	(void) recovery_run(worker, delegate_turn);
	watch_in = run_watch(worker);
	wait = time_to_next_turn(worker, run_send(worker));
	clock_wait_at_most(&wait, failure_log_write(worker->failure_log, now, worker->jobs.count == 0 && wait != 0));
	clock_wait_at_most(&wait, watch_in);
	return wait < 0 ? -1 : (long) ceil(wait * 1000);
}

/*
 * The process
 */

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
	worker->purpose = purpose;
	worker->watch = watch_create(tickets);
	worker->http = http_client_create(true);
	worker->cache = mirror_cache_create(context);
	worker->agents = agents_create(context);
	worker->failure_log = failure_log_create();
	recovery_init(worker);
	jobs_init(&worker->jobs, context);
	schedule_init(worker);
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

/*
 * Check whether there is a reason not to sleep.  The latch alone does not tell: any wait in between may
 * have reset it.
 */
static bool
is_woken(const Worker *worker)
{
	return MyLatch->is_set || ConfigReloadPending || InterruptPending || worker->recovery.had_error || shmem_is_woken();
}

/*
 * Handle interrupts, changed settings and wake-ups, and check whether the extension still exists.
 */
static void
take_signals(Worker *worker)
{
	bool		settings = ConfigReloadPending;

	worker->recovery.had_error = false;
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (settings)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	schedule_take_hints(worker, shmem_take_wake(), settings);
	worker->leave = !extension_exists();
}

/* Set aside the table at which the worker before this one died. */
static void
recall_crash(Worker *worker)
{
	crash_open(MyDatabaseId, CRASH_WORKER);
	recovery_recall(worker);
	crash_recalled();
}

/*
 * Work until the extension is dropped, or the session that has started this worker is answered.
 */
static void
run_turns(Worker *worker)
{
	while (!worker->leave)
	{
		long		timeout = run_turn(worker);

		origin_check_report(worker);
		if (worker->purpose != WORKER_MIRRORS && watch_is_over(worker->watch))
			return;
		http_wait(worker->http, is_woken(worker) ? 0 : timeout, COMPAT_WAIT_EVENT);
		if (is_woken(worker) && recovery_run(worker, take_signals))
			origin_check_again(worker);
		request_collect(worker);
	}
}

static void
start_worker_process(void)
{
	pqsignal(SIGTERM, crash_die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
}

/* Work, once this is the only worker of the database. */
static void
run_worker(WorkerPurpose purpose, Tickets *tickets)
{
	Worker	   *worker;

	if (!extension_exists())
		return;
	shmem_report_extension();
	StartTransactionCommand();
	lock_reconciler();
	CommitTransactionCommand();
	worker = create_worker(purpose, tickets);
	while (!recovery_run(worker, recall_crash))
		http_wait(worker->http, RECALL_DELAY, COMPAT_WAIT_EVENT);
	run_turns(worker);
}

/*
 * Entry point of the worker that the launcher starts; the argument is the database's oid.  It ends when the
 * database has no extension (any more), or at SIGTERM.  If an error ends it, the launcher decides when
 * to start another.
 */
void
mixpeek_worker_main(Datum main_arg)
{
	Oid			database = DatumGetObjectId(main_arg);

	start_worker_process();
	if (!shmem_attach_worker(database))
		proc_exit(0);
	COMPAT_GIVE_MEMORY_BACK();
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	process_override_settings();
	run_worker(WORKER_MIRRORS, shared_tickets);
	shmem_report_absent(database);
	proc_exit(0);
}

/*
 * Entry point of a worker that a session has started; the argument is the segment that holds its ticket.
 * It ends when the ticket is answered, or the session ends it.
 */
void
mixpeek_ticket_worker_main(Datum main_arg)
{
	dsm_segment *segment;
	Tickets    *tickets;
	Oid			database;
	bool		syncs;

	start_worker_process();
	segment = dsm_attach(DatumGetUInt32(main_arg));
	if (segment == NULL)
		proc_exit(0);			/* the session has gone already */
	tickets = dsm_segment_address(segment);
	database = tickets->tickets[0].database;
	syncs = tickets->tickets[0].kind == TICKET_SYNC;
	COMPAT_GIVE_MEMORY_BACK();
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	process_override_settings();
	run_worker(syncs ? WORKER_SYNCS : WORKER_WATCHES, tickets);
	proc_exit(0);
}
