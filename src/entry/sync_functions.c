/*-------------------------------------------------------------------------
 *
 * sync_functions.c
 *		mixpeek.sync() and mixpeek.wait(): they send a ticket to the worker and
 *		wait for its answer.
 *
 * Nothing is mirrored or read in the session.  If the library is not preloaded there is no
 * worker; then the session starts one, with the same code as the launcher's, which ends
 * after its answer.  Only one session in a database does so at a time; the others wait
 * for it.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xlog.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/process.h"
#include "base/shmem.h"
#include "base/ticket.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "state/origin.h"
#include "storage/dsm.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(mixpeek_sync);
PG_FUNCTION_INFO_V1(mixpeek_wait);

/* Seconds that a session waits for a worker to start if none is running. */
#define WORKER_PATIENCE		10.0

/* Seconds that a session waits for an answer at least, even if its timeout is shorter. */
#define MIN_PATIENCE		1.0

/* Milliseconds between two checks whether the worker still runs: nothing signals its end. */
#define CHECK_INTERVAL		500

/* Return the seconds until a time of clock_seconds(); -1 (no limit) for a time of -1. */
static double
time_left(double until)
{
	double		left = until - clock_seconds();

	return until < 0 ? -1 : Max(left, 0);
}

/* Sleep until the latch is set, or for some milliseconds. */
static void
sleep_for(long milliseconds)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 milliseconds, COMPAT_WAIT_EVENT);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/*
 * Answers
 */

static void
raise_no_worker(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("no worker mirrors this database"),
			 shmem_available() ?
			 errhint("The server's log says why it could not be started.") :
			 errhint("Add mixpeek_docs to shared_preload_libraries, or CALL mixpeek.sync().")));
}

/* Raise an error if the answer says that nothing can be mirrored. */
static void
check_answer(const TicketAnswer *answer)
{
	switch (answer->result)
	{
		case TICKET_DONE:
			break;
		case TICKET_COPY:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("nothing is mirrored: %s", answer->text),
					 errhint("%s", origin_hint)));
			break;
		case TICKET_DISABLED:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("nothing is mirrored: mixpeek.enabled is off")));
			break;
		case TICKET_NOBODY:
			raise_no_worker();
			break;
	}
}

/* Report what sync() could not do, as far as its caller may know it. */
static void
report_what_is_left(const TicketAnswer *answer)
{
	char	   *text = pstrdup(answer->text);

	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		ereport(WARNING, (errmsg("nothing was sent: %s", line)));
	if (answer->hidden)
		ereport(WARNING,
				(errmsg("nothing was sent for some tables of other roles"),
				 errdetail("Their servers cannot be used.")));
	if (answer->left)
		ereport(NOTICE,
				(errmsg("some changes were left for the next mixpeek.sync()"),
				 errdetail("Their tables are locked, or cannot be read.")));
}

/*
 * Asking the running worker
 */

/* Raise an error if there has been no worker for WORKER_PATIENCE seconds. */
static void
check_worker_runs(double *absent_since)
{
	if (shmem_worker_runs(MyDatabaseId))
		*absent_since = -1;
	else if (*absent_since < 0)
		*absent_since = clock_seconds();
	else if (clock_seconds() - *absent_since > WORKER_PATIENCE)
		raise_no_worker();
}

/* Wait for the worker's answer.  Returns false after the timeout, if the worker is not done or has not replied. */
static bool
wait_for_worker_answer(Ticket *ticket, double until, TicketAnswer *answer)
{
	double		least = clock_seconds() + MIN_PATIENCE;
	double		absent_since = -1;

	for (;;)
	{
		bool		seen;
		double		left;

		if (ticket_take(ticket, answer, &seen))
			return true;
		if (until >= 0 && !seen)
			left = time_left(Max(until, least));
		else
			left = time_left(until);
		if (left == 0)
			return false;
		check_worker_runs(&absent_since);
		sleep_for(left < 0 || left * 1000 >= CHECK_INTERVAL ? CHECK_INTERVAL : (long) (left * 1000) + 1);
	}
}

static bool
ask_worker(TicketKind kind, double until, TicketAnswer *answer)
{
	Ticket	   *ticket = &shared_tickets->tickets[COMPAT_PROC_NUMBER];
	volatile bool answered = false;

	ticket_open(shared_tickets, ticket, kind);
	PG_TRY();
	{
		shmem_wake_worker(MyDatabaseId);
		answered = wait_for_worker_answer(ticket, until, answer);
	}
	PG_FINALLY();
	{
		ticket_close(shared_tickets, ticket);
	}
	PG_END_TRY();
	return answered;
}

/*
 * Starting a worker for this session
 */

/* End the session's worker, at the end of its segment: the session has its answer, gives up, or ends. */
static void
end_own_worker(dsm_segment *segment, Datum arg)
{
	BackgroundWorkerHandle *handle = (BackgroundWorkerHandle *) DatumGetPointer(arg);

	TerminateBackgroundWorker(handle);
	pfree(handle);
}

static BackgroundWorkerHandle *
start_own_worker(dsm_segment *segment)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	BackgroundWorkerHandle *handle;
	char		name[BGW_MAXLEN];

	snprintf(name, sizeof(name), "mixpeek_docs worker of process %d", MyProcPid);
	handle = process_start(name, "mixpeek_docs worker", "mixpeek_ticket_worker_main",
						   UInt32GetDatum(dsm_segment_handle(segment)));
	MemoryContextSwitchTo(old);
	if (handle == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no background worker can be started"),
				 errdetail("All background worker slots are in use."),
				 errhint("Increase max_worker_processes, or try again later.")));
	return handle;
}

/* Wait until the session's worker has answered and ended. */
static void
wait_for_own_worker(Ticket *ticket, BackgroundWorkerHandle *handle, TicketAnswer *answer)
{
	for (;;)
	{
		pid_t		pid;
		bool		stopped = GetBackgroundWorkerPid(handle, &pid) == BGWH_STOPPED;
		bool		seen;
		bool		answered = ticket_take(ticket, answer, &seen);

		if (answered && stopped)
			return;
		if (stopped)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the worker has ended before it was done"),
					 errhint("The server's log may say why.")));
		sleep_for(CHECK_INTERVAL);
	}
}

/* Start a worker and wait for its answer.  The caller holds the starter's lock (see lock.h). */
static void
ask_own_worker(TicketKind kind, TicketAnswer *answer)
{
	dsm_segment *segment = dsm_create(tickets_size(1), 0);
	Tickets    *tickets = dsm_segment_address(segment);

	PG_TRY();
	{
		BackgroundWorkerHandle *handle;

		tickets_init(tickets, 1);
		ticket_open(tickets, &tickets->tickets[0], kind);
		handle = start_own_worker(segment);
		on_dsm_detach(segment, end_own_worker, PointerGetDatum(handle));
		wait_for_own_worker(&tickets->tickets[0], handle, answer);
	}
	PG_FINALLY();
	{
		dsm_detach(segment);
	}
	PG_END_TRY();
}

/*
 * mixpeek.sync()
 */

static void
check_sync_may_run(FunctionCallInfo fcinfo)
{
	bool		atomic = !(fcinfo->context && IsA(fcinfo->context, CallContext) &&
						   !castNode(CallContext, fcinfo->context)->atomic);

	PreventCommandDuringRecovery("CALL mixpeek.sync()");
	if (atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("mixpeek.sync() cannot run inside a transaction block"),
				 errdetail("Only committed changes are mirrored.")));
}

/*
 * CALL mixpeek.sync(): have the worker mirror all that was committed before, and start one
 * if there is none.  Returns when all of it is mirrored or failed, or nothing is left that is
 * due within some seconds.  Raises ERRCODE_INVALID_TRANSACTION_TERMINATION inside a
 * transaction block, and ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if nothing may be
 * mirrored.
 */
Datum
mixpeek_sync(PG_FUNCTION_ARGS)
{
	TicketAnswer answer;

	check_sync_may_run(fcinfo);
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	SPI_commit();				/* hold no snapshot while waiting */
	if (shmem_available())
	{
		if (shmem_worker_runs(MyDatabaseId))
			ereport(NOTICE, (errmsg("a worker mirrors this database: waiting for it")));
		(void) ask_worker(TICKET_SYNC, -1, &answer);
	}
	else
	{
		(void) lock_starter(true);
		ask_own_worker(TICKET_SYNC, &answer);
		unlock_starter();
	}
	check_answer(&answer);
	report_what_is_left(&answer);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * mixpeek.wait()
 */

/*
 * Wait for the worker that another session has started, if any, then start one to see what is
 * left.  Returns false after the timeout.
 */
static bool
wait_without_worker(double until, TicketAnswer *answer)
{
	long		delay = 1;

	while (!lock_starter(false))
	{
		if (time_left(until) == 0)
			return false;
		delay = Min(delay * 2, 50);
		sleep_for(delay);
	}
	ask_own_worker(TICKET_WAIT, answer);
	unlock_starter();
	return true;
}

/* Return the time of clock_seconds() at which the timeout argument ends; -1: never. */
static double
timeout_end(FunctionCallInfo fcinfo)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz end;

	if (PG_ARGISNULL(0))
		return -1;
	end = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(now),
												  PG_GETARG_DATUM(0)));
	if (TIMESTAMP_IS_NOEND(end))
		return -1;
	return clock_seconds() + Max(0, (double) end - (double) now) / USECS_PER_SEC;
}

/*
 * mixpeek.wait(timeout interval): return true as soon as everything that was committed
 * before the call is mirrored or failed, and false after the timeout (NULL: none).
 * Raises ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if no worker mirrors the database.
 */
Datum
mixpeek_wait(PG_FUNCTION_ARGS)
{
	double		until = timeout_end(fcinfo);
	TicketAnswer answer;
	bool		answered;

	PreventCommandDuringRecovery("mixpeek.wait()");
	if (shmem_available())
		answered = ask_worker(TICKET_WAIT, until, &answer);
	else
		answered = wait_without_worker(until, &answer);
	if (answered)
		check_answer(&answer);
	PG_RETURN_BOOL(answered);
}
