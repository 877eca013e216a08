/*-------------------------------------------------------------------------
 *
 * launcher.c
 *		Starts one worker in every database that has the extension.
 *
 * Whether a database has the extension can only be seen by a process connected to it.
 * Therefore a worker is started in each database, and ends at once if the extension is
 * absent.  The launcher remembers that, and starts another worker when CREATE EXTENSION
 * or CREATE DATABASE has committed.  Otherwise it sleeps.
 *
 * A cluster may have many more databases than background worker slots.  So only a few workers at a
 * time are started that may turn out to be in vain, the next when one of them has ended or has found
 * the extension.  Databases that had a worker before the launcher was started come first.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/process.h"
#include "base/shmem.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "worker/launcher.h"
#include "worker/worker.h"

/*
 * Seconds until a worker that failed is started again, doubled each time.  The longest
 * delay is short, because the cause may be gone at any moment and a start costs only
 * some milliseconds.  Delays after a crash, which also ends the launcher, are in crash.h.
 */
#define MIN_START_DELAY		1.0
#define MAX_START_DELAY		10.0

/*
 * Number of workers at a time that have not yet found whether their database has the extension, and
 * the seconds after which such a worker does not count any more, since it waits for something.
 */
#define MAX_PROBES			2
#define PROBE_TIME			5.0

/* Seconds until another attempt when no background worker slot is free. */
#define NO_SLOT_DELAY		1.0

/* After so many seconds a worker's end does not count as a failure to start. */
#define GOOD_LIFE			60.0

typedef struct Database
{
	Oid			oid;
	bool		exists;			/* found by the last scan */
	bool		absent;			/* its worker did not find the extension */
	bool		probe;			/* the extension may have been created since
								 * its worker was started */
	BackgroundWorkerHandle *handle; /* NULL: no worker was started, or it
									 * ended */
	double		started_at;
	double		start_at;		/* earliest time of the next start */
	double		start_delay;	/* seconds; see MIN_START_DELAY */
} Database;

static List *databases = NIL;
static bool scan_wanted = true;
static bool no_slot = false;	/* at the last start of a worker */

static Database *
find_database(Oid oid)
{
	ListCell   *lc;

	foreach(lc, databases)
	{
		if (((Database *) lfirst(lc))->oid == oid)
			return lfirst(lc);
	}
	return NULL;
}

static void
note_database(Oid oid)
{
	Database   *database = find_database(oid);

	if (database == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		database = palloc0(sizeof(Database));
		database->oid = oid;
		database->start_at = clock_seconds() + crash_start_delay(oid);
		databases = crash_has_file(oid) ? lcons(database, databases) : lappend(databases, database);
		MemoryContextSwitchTo(old);
	}
	database->exists = true;
}

/* Remove the records of crashes in databases that were dropped. */
static void
forget_dropped_databases(void)
{
	ListCell   *lc;

	foreach(lc, databases)
	{
		if (!((Database *) lfirst(lc))->exists)
			crash_forget(((Database *) lfirst(lc))->oid);
	}
}

/* Find the databases that accept connections and are not templates. */
static void
scan_databases(void)
{
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;
	ListCell   *lc;

	foreach(lc, databases)
		((Database *) lfirst(lc))->exists = false;
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		if (form->datallowconn && !form->datistemplate)
			note_database(form->oid);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	PopActiveSnapshot();
	CommitTransactionCommand();
	forget_dropped_databases();
	scan_wanted = false;
}

/* Take in which databases lack the extension, and in which one it may have been created. */
static void
take_messages(void)
{
	Database   *database;
	ListCell   *lc;
	Oid			oid;

	while (shmem_take_absent(&oid))
	{
		database = find_database(oid);
		if (database && !database->probe)
			database->absent = true;
	}
	while (shmem_take_probe(&oid))
	{
		scan_wanted = true;
		foreach(lc, databases)
		{
			database = lfirst(lc);
			if (oid == InvalidOid || database->oid == oid)
			{
				database->absent = false;
				database->probe = true;
				database->start_at = 0;
				database->start_delay = 0;
			}
		}
	}
}

/* Log that there is no slot for a worker, once until there is one again. */
static void
report_no_slot(void)
{
	if (!no_slot)
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("mixpeek_docs: no background worker slot is free, so there are databases without a worker"),
				 errhint("Increase max_worker_processes.")));
	no_slot = true;
}

/* Start the database's worker.  Returns false if there is no slot for it. */
static bool
start_database_worker(Database *database, double now)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	char		name[BGW_MAXLEN];

	snprintf(name, sizeof(name), "mixpeek_docs worker for database %u", database->oid);
	database->handle = process_start(name, "mixpeek_docs worker", "mixpeek_worker_main",
									 ObjectIdGetDatum(database->oid));
	MemoryContextSwitchTo(old);
	if (database->handle == NULL)
		return false;
	database->probe = false;
	database->started_at = now;
	database->start_delay = Min(MAX_START_DELAY, Max(MIN_START_DELAY, database->start_delay * 2));
	return true;
}

/* If the database's worker has ended, determine when to start it again. */
static void
check_worker(Database *database, double now)
{
	pid_t		pid;

	if (database->handle == NULL ||
		GetBackgroundWorkerPid(database->handle, &pid) != BGWH_STOPPED)
		return;
	pfree(database->handle);
	database->handle = NULL;
	if (now - database->started_at > GOOD_LIFE)
		database->start_delay = MIN_START_DELAY;
	database->start_at = database->probe ? now : now + database->start_delay;
}

/* Return the seconds for which the database's worker counts as one that may be in vain; 0 if it does not. */
static double
probe_time(const Database *database, double now)
{
	if (database->handle == NULL || shmem_worker_has_extension(database->oid))
		return 0;
	return Max(0, database->started_at + PROBE_TIME - now);
}

/* Take in which workers have ended, and count those that may be in vain.  *wait is set as by start_workers(). */
static int
check_workers(double now, double *wait)
{
	int			probes = 0;
	ListCell   *lc;

	foreach(lc, databases)
	{
		double		time;

		check_worker(lfirst(lc), now);
		time = probe_time(lfirst(lc), now);
		if (time > 0)
		{
			clock_wait_at_most(wait, time);
			probes++;
		}
	}
	return probes;
}

/* Check whether the database lacks a worker. */
static bool
wants_worker(const Database *database)
{
	return database->handle == NULL && !database->absent && database->exists &&
		!shmem_database_is_held(database->oid);
}

/*
 * Start the workers that are due, as far as there is room.  Return the seconds until the next start, or
 * -1.  The end of a worker, and its report that it found the extension, set the launcher's latch.
 */
static double
start_workers(void)
{
	double		now = clock_seconds();
	double		wait = -1;
	int			probes = check_workers(now, &wait);
	ListCell   *lc;

	foreach(lc, databases)
	{
		Database   *database = lfirst(lc);

		if (!wants_worker(database))
			continue;
		if (database->start_at > now)
		{
			clock_wait_at_most(&wait, Max(0.01, database->start_at - now));
			continue;
		}
		if (probes >= MAX_PROBES)
			return wait;
		if (!start_database_worker(database, now))
		{
			report_no_slot();
			clock_wait_at_most(&wait, NO_SLOT_DELAY);
			return wait;
		}
		probes++;
	}
	no_slot = false;
	return wait;
}

void
mixpeek_launcher_main(Datum main_arg)
{
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	shmem_attach_launcher();
	for (;;)
	{
		double		wait;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		take_messages();
		if (scan_wanted)
			scan_databases();
		wait = start_workers();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (wait >= 0 ? WL_TIMEOUT : 0),
						 wait >= 0 ? (long) (wait * 1000) + 1 : -1, COMPAT_WAIT_EVENT);
		ResetLatch(MyLatch);
	}
}

void
launcher_register(void)
{
	BackgroundWorker worker;

	process_describe(&worker, "mixpeek_docs launcher", "mixpeek_launcher_main");
	worker.bgw_restart_time = 5;
	RegisterBackgroundWorker(&worker);
}
