/*-------------------------------------------------------------------------
 *
 * sync_functions.c
 *		mixpeek.sync() and mixpeek.wait(): they ask the worker, and wait for its answer.
 *
 * Nothing is done or read in the session.  Where the library is not preloaded there
 * is no worker: the session starts one, the same as the launcher's, which ends with its answer.  One
 * session a database does so at a time; the others wait for it.
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

/* Without a worker that runs a session waits for so many seconds that one comes. */
#define WORKER_PATIENCE		10.0

/* And for an answer, however short its own patience is, so many. */
#define LEAST_PATIENCE		1.0

/* Nobody says that the worker has gone: milliseconds after which a session looks. */
#define LOOK_AROUND			500

/* Seconds until a point in clock_seconds()'s time; -1: for ever. */
static double
time_left(double until)
{
	double		left = until - clock_seconds();

	return until < 0 ? -1 : Max(left, 0);
}

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
raise_nobody_works(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("no worker mirrors this database"),
			 shmem_available() ?
			 errhint("See the server's log for why it could not be started.") :
			 errhint("Add mixpeek_docs to shared_preload_libraries, or CALL mixpeek.sync().")));
}

/* Raises what stops everything. */
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
			raise_nobody_works();
			break;
	}
}

/* What sync() could not do, as far as its caller may know. */
static void
report_rest(const TicketAnswer *answer)
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
 * The worker that runs
 */

/* Waiting for nobody would be for ever. */
static void
check_somebody_works(double *absent_since)
{
	if (shmem_worker_runs(MyDatabaseId))
		*absent_since = -1;
	else if (*absent_since < 0)
		*absent_since = clock_seconds();
	else if (clock_seconds() - *absent_since > WORKER_PATIENCE)
		raise_nobody_works();
}

/* False if the time is over, and the worker has said that it is not done, or says nothing. */
static bool
wait_for_answer(Ticket *ticket, double until, TicketAnswer *answer)
{
	double		least = clock_seconds() + LEAST_PATIENCE;
	double		absent_since = -1;

	for (;;)
	{
		bool		looked;
		double		left;

		if (ticket_take(ticket, answer, &looked))
			return true;
		if (until >= 0 && !looked)
			left = time_left(Max(until, least));
		else
			left = time_left(until);
		if (left == 0)
			return false;
		check_somebody_works(&absent_since);
		sleep_for(left < 0 || left * 1000 >= LOOK_AROUND ? LOOK_AROUND : (long) (left * 1000) + 1);
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
		answered = wait_for_answer(ticket, until, answer);
	}
	PG_FINALLY();
	{
		ticket_close(shared_tickets, ticket);
	}
	PG_END_TRY();
	return answered;
}

/*
 * A worker of the session's own
 */

/* The session has its answer, gives up, or ends. */
static void
end_worker(dsm_segment *segment, Datum arg)
{
	BackgroundWorkerHandle *handle = (BackgroundWorkerHandle *) DatumGetPointer(arg);

	TerminateBackgroundWorker(handle);
	pfree(handle);
}

static BackgroundWorkerHandle *
start_worker(dsm_segment *segment)
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

/* Until it has answered and ended. */
static void
wait_for_worker(Ticket *ticket, BackgroundWorkerHandle *handle, TicketAnswer *answer)
{
	for (;;)
	{
		pid_t		pid;
		bool		stopped = GetBackgroundWorkerPid(handle, &pid) == BGWH_STOPPED;
		bool		looked;
		bool		answered = ticket_take(ticket, answer, &looked);

		if (answered && stopped)
			return;
		if (stopped)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the worker has ended before it was done"),
					 errhint("See the server's log.")));
		sleep_for(LOOK_AROUND);
	}
}

/* The caller is the only one who does so. */
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
		handle = start_worker(segment);
		on_dsm_detach(segment, end_worker, PointerGetDatum(handle));
		wait_for_worker(&tickets->tickets[0], handle, answer);
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
				 errdetail("What is to be mirrored must be committed.")));
}

/*
 * CALL mixpeek.sync(): has the worker's work done, by a worker that is started for it where there is
 * none.  Returns when all that was committed before is mirrored or failed, or nothing is
 * left that is due within some seconds.  Raises ERRCODE_INVALID_TRANSACTION_TERMINATION inside a transaction
 * block, and ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE where nothing may be mirrored.
 */
Datum
mixpeek_sync(PG_FUNCTION_ARGS)
{
	TicketAnswer answer;

	check_sync_may_run(fcinfo);
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	SPI_commit();				/* no snapshot is held meanwhile */
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
	report_rest(&answer);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * mixpeek.wait()
 */

/* Waits for who works now; what is left then nobody does. */
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

/* When a timeout is over, in clock_seconds()'s time; -1: never. */
static double
wait_until(FunctionCallInfo fcinfo)
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
 * mixpeek.wait(timeout interval): true when everything that was committed
 * before the call is mirrored or failed, false after the timeout (NULL: none).
 * Raises ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if nobody does the work.
 */
Datum
mixpeek_wait(PG_FUNCTION_ARGS)
{
	double		until = wait_until(fcinfo);
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
