/*-------------------------------------------------------------------------
 *
 * aside.c
 *		Tables that are left alone for a while, for the worker died at their work.
 *
 * A worker that dies takes all sessions of the server with it, and the next one would
 * do the same again: so the table that was being worked on waits for some seconds, and
 * four times as long each time that it happens again, while others go on.  That is
 * forgotten when all that waited for the table was seen to after its time, and
 * after a fault not before some minutes: the rows that did it may come late.
 *
 * What is set aside stands in mixpeek.set_aside, which the worker writes and owners
 * delete from (by mixpeek.retry()).  It waits for nobody's lock: a line that
 * somebody is about to delete stays, and a table may have several.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/clock.h"
#include "base/statement.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "state/aside.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Seconds that a table is set aside. */
#define FIRST_DELAY		5
#define MAX_DELAY		3600
#define DELAY_FACTOR	4

/* So long after that a table's fault counts as another one of several. */
#define FAULT_MEMORY	600

typedef struct Aside
{
	Oid			relation;
	TimestampTz stored;			/* until, as the line says */
	double		until;			/* by clock_seconds(), as is forget_after:
								 * clocks may be set */
	double		forget_after;
	bool		tried;			/* since its time was over */
	bool		seen;			/* and nothing was left then */
	bool		current;		/* found by the last reading */
} Aside;

static List *asides = NIL;

static Aside *
find_aside(Oid relation)
{
	ListCell   *lc;

	foreach(lc, asides)
	{
		if (((Aside *) lfirst(lc))->relation == relation)
			return lfirst(lc);
	}
	return NULL;
}

static Aside *
see_aside(Oid relation)
{
	Aside	   *aside = find_aside(relation);
	MemoryContext old;

	if (aside == NULL)
	{
		old = MemoryContextSwitchTo(TopMemoryContext);
		aside = palloc0(sizeof(Aside));
		aside->relation = relation;
		asides = lappend(asides, aside);
		MemoryContextSwitchTo(old);
	}
	aside->current = true;
	return aside;
}

static void
drop_lifted(void)
{
	ListCell   *lc;

	foreach(lc, asides)
	{
		if (((Aside *) lfirst(lc))->current)
			continue;
		pfree(lfirst(lc));
		asides = foreach_delete_current(asides, lc);
	}
}

static TimestampTz
time_column(int row, int column)
{
	bool		isnull;

	return DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull));
}

/* A time further ahead than any that is set was set by another clock. */
static void
see_times(Aside *aside, TimestampTz until, TimestampTz forget_after)
{
	TimestampTz now = GetCurrentTimestamp();
	double		now_here = clock_seconds();

	if (aside->stored == until)
		return;
	aside->stored = until;
	aside->until = now_here + Min((until - now) / (double) USECS_PER_SEC, MAX_DELAY);
	aside->forget_after = now_here + Min((forget_after - now) / (double) USECS_PER_SEC, 2 * MAX_DELAY);
	aside->tried = aside->seen = false;
}

static void
read_asides(void)
{
	static Statement query = {
		"SELECT relation::oid, max(until), max(forget_after) FROM mixpeek.set_aside GROUP BY relation", 0, {0}
	};
	ListCell   *lc;

	foreach(lc, asides)
		((Aside *) lfirst(lc))->current = false;
	statement_run(&query, NULL, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		relation = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);

		see_times(see_aside(DatumGetObjectId(relation)), time_column(i, 2), time_column(i, 3));
	}
	statement_end();
	drop_lifted();
}

/* Deletes what nobody else is about to delete. */
static void
forget(Oid relation)
{
	static Statement query = {
		"DELETE FROM mixpeek.set_aside WHERE ctid = ANY (ARRAY("
		" SELECT ctid FROM mixpeek.set_aside WHERE relation = $1 FOR UPDATE SKIP LOCKED))",
		1, {OIDOID}
	};
	Datum		args[1];

	args[0] = ObjectIdGetDatum(relation);
	statement_run(&query, args, NULL);
	statement_end();
}

/* How often it was set aside lately. */
static int
times_before(Oid relation)
{
	static Statement query = {
		"SELECT coalesce(max(times), 0) FROM mixpeek.set_aside WHERE relation = $1 AND forget_after > pg_catalog.clock_timestamp()",
		1, {OIDOID}
	};
	Datum		args[1];
	bool		isnull;
	int			times;

	args[0] = ObjectIdGetDatum(relation);
	statement_run(&query, args, NULL);
	times = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	statement_end();
	return times;
}

static int
delay_after(int times)
{
	int			delay = FIRST_DELAY;

	for (int i = 1; i < times && delay < MAX_DELAY; i++)
		delay *= DELAY_FACTOR;
	return Min(delay, MAX_DELAY);
}

static void
insert_aside(Oid relation, const char *reason, int delay, int times, int memory)
{
	static Statement query = {
		"INSERT INTO mixpeek.set_aside (relation, reason, times, until, forget_after)"
		" SELECT $1, $2, $3, now + $4 * interval '1 second', now + ($4 + $5) * interval '1 second'"
		" FROM pg_catalog.clock_timestamp() now",
		5, {OIDOID, TEXTOID, INT4OID, INT4OID, INT4OID}
	};
	Datum		args[5];

	args[0] = ObjectIdGetDatum(relation);
	args[1] = CStringGetTextDatum(reason);
	args[2] = Int32GetDatum(times);
	args[3] = Int32GetDatum(delay);
	args[4] = Int32GetDatum(memory);
	statement_run(&query, args, NULL);
	statement_end();
}

void
aside_put(Oid relation, CrashEnd end, const char *reason)
{
	int			times = times_before(relation) + 1;
	int			delay = delay_after(times);
	char	   *name = get_rel_name(relation);

	if (name == NULL)
		return;					/* dropped, and with it what was wrong */
	forget(relation);
	insert_aside(relation, reason, delay, times, end == CRASH_KILLED ? 0 : Max(FAULT_MEMORY, delay));
	ereport(LOG,
			(errmsg("mixpeek_docs: table \"%s\" is set aside for %d seconds: the worker %s the table",
					name, delay, reason),
			 errdetail("This has happened %d times lately.", times)));
	read_asides();
}

static void
recall_note(const CrashNote *note)
{
	switch (note->end)
	{
		case CRASH_KILLED:
			aside_put(note->relation, note->end, "was killed while it worked on");
			break;
		case CRASH_SIGNALLED:
			aside_put(note->relation, note->end,
					  psprintf("crashed (signal %d) while it worked on", note->signal));
			break;
		case CRASH_FAILED:
			aside_put(note->relation, note->end, "ended with an error while it worked on");
			break;
	}
}

void
aside_recall(void)
{
	for (int i = 0; i < CRASH_SLOTS; i++)
	{
		CrashNote	note = crash_recall(i);

		if (OidIsValid(note.relation))
			recall_note(&note);
	}
	read_asides();
}

void
aside_begin_claim(void)
{
	ListCell   *lc;

	if (asides == NIL)
		return;
	foreach(lc, asides)
	{
		Aside	   *aside = lfirst(lc);

		if (aside->seen && aside->forget_after <= clock_seconds())
			forget(aside->relation);
	}
	read_asides();
}

void
aside_end_claim(bool all_seen)
{
	ListCell   *lc;

	if (!all_seen)
		return;
	foreach(lc, asides)
	{
		Aside	   *aside = lfirst(lc);

		aside->seen = aside->seen || aside->tried;
	}
}

bool
aside_is(Oid relation)
{
	Aside	   *aside = asides ? find_aside(relation) : NULL;

	return aside && aside->until > clock_seconds();
}

bool
aside_try(Oid relation)
{
	Aside	   *aside = asides ? find_aside(relation) : NULL;

	if (aside == NULL)
		return true;
	aside->tried = aside->until <= clock_seconds();
	return aside->tried;
}

double
aside_next(void)
{
	double		next = -1;
	ListCell   *lc;

	foreach(lc, asides)
	{
		double		delay = ((Aside *) lfirst(lc))->until - clock_seconds();

		if (delay > 0 && (next < 0 || delay < next))
			next = delay;
	}
	return next;
}

char *
aside_problem(Oid relation)
{
	static Statement query = {
		"SELECT pg_catalog.format('set aside until %s: the worker %s the table (%s times lately); see the server''s log;"
		" SELECT mixpeek.retry(%L) has it tried at once', pg_catalog.date_trunc('second', until), reason, times,"
		" relation) FROM mixpeek.set_aside WHERE relation = $1 AND until > pg_catalog.clock_timestamp()"
		" ORDER BY until DESC LIMIT 1",
		1, {OIDOID}
	};
	Datum		args[1];
	char	   *problem = NULL;

	args[0] = ObjectIdGetDatum(relation);
	statement_run(&query, args, NULL);
	if (SPI_processed > 0)
		problem = statement_text(SPI_tuptable->vals[0], 1);
	statement_end();
	return problem;
}

void
aside_lift(Oid relation)
{
	static Statement query = {"DELETE FROM mixpeek.set_aside WHERE relation = $1", 1, {OIDOID}};
	Datum		args[1];

	args[0] = ObjectIdGetDatum(relation);
	statement_run(&query, args, NULL);
	statement_end();
}
