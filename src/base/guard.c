/*-------------------------------------------------------------------------
 *
 * guard.c
 *		Running users' code so that its errors become values.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <signal.h>

#include "access/xact.h"
#include "base/guard.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#define MAX_PROBLEM		2000	/* bytes of a message that is returned */

/* The state of guard_call_within(). */
static volatile sig_atomic_t time_is_up = false;
static TimeoutId timeout_id = MAX_TIMEOUTS;
static TimeoutId deadline_id = MAX_TIMEOUTS;
static int	grace = -1;
static int	timeouts = 0;

/*
 * Check whether an error is a cancel request, which must end the caller as well.  Users' code can
 * raise an error with the same code, so the function that raised it is checked.
 */
static bool
must_rethrow(const ErrorData *edata)
{
	return !time_is_up && edata->sqlerrcode == ERRCODE_QUERY_CANCELED &&
		edata->funcname != NULL && strcmp(edata->funcname, "ProcessInterrupts") == 0;
}

/* Return the error's message and detail, truncated: users' code decides how long they are. */
static char *
problem_text(const ErrorData *edata)
{
	char	   *text = edata->detail ?
		psprintf("%s: %s", edata->message, edata->detail) : pstrdup(edata->message);
	int			len = strlen(text);

	text[pg_mbcliplen(text, len, MAX_PROBLEM)] = '\0';
	return text;
}

static char *
call_guarded(GuardedFunction function, void *arg, int *sqlstate)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char	   *volatile problem = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		function(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(context);
		edata = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (must_rethrow(edata))
			ReThrowError(edata);
		if (sqlstate)
			*sqlstate = edata->sqlerrcode;
		problem = problem_text(edata);
		FreeErrorData(edata);
	}
	PG_END_TRY();

	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return problem;
}

char *
guard_call(GuardedFunction function, void *arg)
{
	return call_guarded(function, arg, NULL);
}

/* Act as if the statement had been cancelled. */
static void
on_timeout(void)
{
	time_is_up = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

/* Act as if the process had been terminated, which cannot be caught. */
static void
on_deadline(void)
{
	InterruptPending = true;
	ProcDiePending = true;
	SetLatch(MyLatch);
}

int
guard_timeouts(void)
{
	return timeouts;
}

void
guard_set_grace(int milliseconds)
{
	grace = milliseconds;
}

static void
init_timers(void)
{
	if (timeout_id != MAX_TIMEOUTS)
		return;
	timeout_id = RegisterTimeout(USER_TIMEOUT, on_timeout);
	deadline_id = RegisterTimeout(USER_TIMEOUT, on_deadline);
}

static void
start_timers(int milliseconds)
{
	init_timers();
	time_is_up = false;
	enable_timeout_after(timeout_id, milliseconds);
	if (grace >= 0)
		enable_timeout_after(deadline_id, milliseconds + grace);
}

static void
stop_timers(void)
{
	disable_timeout(timeout_id, false);
	disable_timeout(deadline_id, false);
}

static int	time_left = -1;		/* milliseconds of the paused timers; -1: none
								 * are paused */

void
guard_pause(void)
{
	double		until;

	HOLD_CANCEL_INTERRUPTS();
	if (timeout_id == MAX_TIMEOUTS || !get_timeout_active(timeout_id))
		return;
	until = (double) (get_timeout_finish_time(timeout_id) - GetCurrentTimestamp()) / 1000;
	time_left = (int) Max(1, until);
	stop_timers();
}

void
guard_resume(void)
{
	if (time_left >= 0)
	{
		enable_timeout_after(timeout_id, time_left);
		if (grace >= 0)
			enable_timeout_after(deadline_id, time_left + grace);
	}
	time_left = -1;
	RESUME_CANCEL_INTERRUPTS();
}

void
guard_begin_deadline(int milliseconds)
{
	init_timers();
	enable_timeout_after(deadline_id, milliseconds);
}

void
guard_end_deadline(void)
{
	disable_timeout(deadline_id, false);
}

char *
guard_call_within(GuardedFunction function, void *arg, int milliseconds, int *sqlstate)
{
	char	   *volatile problem = NULL;

	start_timers(milliseconds);
	PG_TRY();
	{
		problem = call_guarded(function, arg, sqlstate);
	}
	PG_FINALLY();
	{
		stop_timers();
	}
	PG_END_TRY();
	if (time_is_up)
	{
		timeouts++;
		time_is_up = QueryCancelPending = false;
		if (problem)
			problem = psprintf("it took longer than mixpeek.read_timeout (%d ms)", milliseconds);
	}
	return problem;
}
