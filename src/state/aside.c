/*-------------------------------------------------------------------------
 *
 * aside.c
 *		Tables that are set aside for a while, because the worker crashed while it worked on them.
 *
 * The crash of a worker ends all sessions of the server, and the next worker would
 * crash at the same table.  So the table that was being worked on has to wait for some
 * seconds, four times as long after each further crash, while other tables are
 * mirrored.  The crashes are forgotten when all entries of the table were claimed after
 * its time, but after a fault not before some minutes, because the rows that caused
 * it may be read late.
 *
 * The tables are stored in mixpeek.set_aside, into which the worker inserts, and from which
 * owners delete by mixpeek.retry().  The worker does not wait for their locks: it leaves rows that
 * another session is deleting, so a table may have several.
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

/* Seconds for which a fault is remembered, so that the next one counts as a further one. */
#define FAULT_MEMORY	600

typedef struct Aside
{
	Oid			relation;
	TimestampTz stored;			/* "until" in the table */
	double		until;			/* in clock_seconds(), because the system
								 * clock may be set */
	double		forget_after;	/* likewise */
	bool		tried;			/* worked on since its time was over */
	bool		seen;			/* nothing was left to be claimed then */
	bool		current;		/* found by the last read_asides() */
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

/* Return a table's Aside, new if there was none. */
static Aside *
get_aside(Oid relation)
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

/* Convert the stored times.  Times too far ahead were set by another clock, and are limited. */
static void
set_times(Aside *aside, TimestampTz until, TimestampTz forget_after)
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
		set_times(get_aside(DatumGetObjectId(statement_value(i, 1, NULL))),
				  DatumGetTimestampTz(statement_value(i, 2, NULL)),
				  DatumGetTimestampTz(statement_value(i, 3, NULL)));
	statement_end();
	drop_lifted();
}

/* Delete a table's rows, except those that other sessions have locked. */
static void
delete_asides(Oid relation)
{
	static Statement query = {
		"DELETE FROM mixpeek.set_aside WHERE ctid = ANY (ARRAY("
		" SELECT ctid FROM mixpeek.set_aside WHERE relation = $1 FOR UPDATE SKIP LOCKED))",
		1, {OIDOID}
	};
	Datum		args[1];

	args[0] = ObjectIdGetDatum(relation);
	(void) statement_execute(&query, args, NULL);
}

/* Count how often a table was set aside lately. */
static int
count_times(Oid relation)
{
	static Statement query = {
		"SELECT coalesce(max(times), 0) FROM mixpeek.set_aside WHERE relation = $1 AND forget_after > pg_catalog.clock_timestamp()",
		1, {OIDOID}
	};
	Datum		args[1];
	int			times;

	args[0] = ObjectIdGetDatum(relation);
	statement_run(&query, args, NULL);
	times = DatumGetInt32(statement_value(0, 1, NULL));
	statement_end();
	return times;
}

/* Return the seconds for which a table is set aside the given time in a row. */
static int
aside_delay(int times)
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
	(void) statement_execute(&query, args, NULL);
}

void
aside_put(Oid relation, CrashEnd end, const char *reason)
{
	int			times = count_times(relation) + 1;
	int			delay = aside_delay(times);
	char	   *name = get_rel_name(relation);

	if (name == NULL)
		return;					/* it was dropped */
	delete_asides(relation);
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
			delete_asides(aside->relation);
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
	(void) statement_execute(&query, args, NULL);
}
