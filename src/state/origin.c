/*-------------------------------------------------------------------------
 *
 * origin.c
 *		Whose documents these are, and whether this database may touch them.
 *
 * A copy of a database has its mirrors, its keys and its documents' ids: left
 * alone it would change and delete the original's documents.  So
 * mixpeek.origin says where it was made, and the reconciler works only there:
 *
 * - another cluster or database (pg_dump and restore, CREATE DATABASE …
 *   TEMPLATE, pg_upgrade) is taken for a copy;
 * - so is the same cluster at another place (a base backup, a snapshot of
 *   its file system or disk), unless it was a standby that received WAL from its primary and was
 *   promoted: that is a failover, and the place is noted anew.
 *
 * The place is the setting mixpeek.instance, or else what can be seen of host, disk and
 * data directory (place.c).  Being wrong to one side
 * stops the mirror until somebody says mixpeek.adopt(); being wrong to the other
 * would destroy documents.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xlog.h"
#include "base/settings.h"
#include "base/statement.h"
#include "base/user.h"
#include "base/wakeup.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "replication/walreceiver.h"
#include "state/origin.h"
#include "state/outbox.h"
#include "state/outbox_buffer.h"
#include "state/place.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(mixpeek_adopt);

const char *const origin_hint =
"If it has taken the original's place, SELECT mixpeek.adopt(). If it is a copy, ALTER SERVER to "
"where its documents shall go, then SELECT mixpeek.adopt(as_copy => true).";

/* A standby that has received WAL since the server was started, and is one no more. */
static bool
was_promoted(void)
{
	return !RecoveryInProgress() && GetWalRcvFlushRecPtr(NULL, NULL) != InvalidXLogRecPtr;
}

static void
run_with_identity(Statement *query, const char *place)
{
	Datum		args[3];

	args[0] = Int64GetDatum((int64) GetSystemIdentifier());
	args[1] = ObjectIdGetDatum(MyDatabaseId);
	args[2] = CStringGetTextDatum(place);
	statement_run(query, args, NULL);
	statement_end();
}

char *
origin_id(void)
{
	static Statement insert = {
		"INSERT INTO mixpeek.origin (system_identifier, database, instance) VALUES ($1, $2, $3)"
		" ON CONFLICT DO NOTHING",
		3, {INT8OID, OIDOID, TEXTOID}
	};
	static Statement query = {"SELECT id::text FROM mixpeek.origin", 0, {0}};
	char	   *id = NULL;

	while (id == NULL)
	{
		statement_run(&query, NULL, NULL);
		if (SPI_processed > 0)
			id = statement_text(SPI_tuptable->vals[0], 1);
		statement_end();
		if (id == NULL)
			run_with_identity(&insert, place_current());
	}
	return id;
}

/*
 * Rows may come anew that had been mirrored when what is here was saved: a standby
 * lacks what its primary did last, and a dump what was done after it.
 */
static void
distrust_inserts(void)
{
	static Statement insert = {
		"INSERT INTO mixpeek.forgotten VALUES ('', '') ON CONFLICT DO NOTHING", 0, {0}
	};

	statement_run(&insert, NULL, NULL);
	statement_end();
}

static void
note_instance(const char *place)
{
	static Statement update = {
		"UPDATE mixpeek.origin SET instance = $3 WHERE system_identifier = $1 AND database = $2",
		3, {INT8OID, OIDOID, TEXTOID}
	};

	run_with_identity(&update, place);
}

static bool
has_documents(void)
{
	static Statement query = {"SELECT FROM mixpeek.documents LIMIT 1", 0, {0}};
	bool		any;

	statement_run(&query, NULL, NULL);
	any = SPI_processed > 0;
	statement_end();
	return any;
}

/* What mixpeek.origin says, palloc'd; false if it says nothing. */
static bool
read_origin(char **id, bool *same_database, char **place)
{
	static Statement query = {
		"SELECT id::text, (system_identifier = $1 AND database = $2)::text, instance FROM mixpeek.origin",
		2, {INT8OID, OIDOID}
	};
	Datum		args[2];
	bool		found;

	args[0] = Int64GetDatum((int64) GetSystemIdentifier());
	args[1] = ObjectIdGetDatum(MyDatabaseId);
	statement_run(&query, args, NULL);
	found = SPI_processed > 0;
	if (found)
	{
		*id = statement_text(SPI_tuptable->vals[0], 1);
		*same_database = strcmp(statement_text(SPI_tuptable->vals[0], 2), "true") == 0;
		*place = statement_text(SPI_tuptable->vals[0], 3);
	}
	statement_end();
	return found;
}

/* What is known of the place changes while it stays the same one; only the worker writes it down. */
static void
follow_place(const char *noted, const char *current)
{
	char	   *place;

	if (strcmp(noted, current) == 0 || MyBackendType != B_BG_WORKER)
		return;
	place = place_merge(noted, current);
	if (strcmp(place, noted) != 0)
		note_instance(place);
}

char *
origin_problem(char **id)
{
	bool		same_database;
	char	   *noted;
	const char *current = place_current();
	char	   *difference;

	*id = NULL;
	if (!read_origin(id, &same_database, &noted))	/* nothing was ever
													 * mirrored here, or a
													 * restore is not done yet */
		return has_documents() ? pstrdup("whose its documents are is not known (yet)") : NULL;
	if (!same_database)
		return pstrdup("this database is a copy of the one whose documents it knows");
	difference = place_difference(noted, current);
	if (difference == NULL)
	{
		follow_place(noted, current);
		return NULL;
	}
	if (was_promoted())
	{
		note_instance(current);
		distrust_inserts();
		return NULL;
	}
	return psprintf("this server runs at \"%s\", and its documents belong to \"%s\" (not the same: %s)",
					place_name(current), place_name(noted), difference);
}

/*
 * adopt(as_copy boolean): this database has taken the place of the one it was
 * copied from and goes on with its documents; or it is a copy, forgets them, and
 * mirrors its rows into documents of its own.  For superusers, and those who
 * were granted it.  Raises ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if as_copy and
 * it is none.
 */
Datum
mixpeek_adopt(PG_FUNCTION_ARGS)
{
	static Statement take_over = {
		"INSERT INTO mixpeek.origin (system_identifier, database, instance) VALUES ($1, $2, $3)"
		" ON CONFLICT (only_one) DO UPDATE SET system_identifier = EXCLUDED.system_identifier,"
		" database = EXCLUDED.database, instance = EXCLUDED.instance",
		3, {INT8OID, OIDOID, TEXTOID}
	};
	static Statement start_anew = {
		"WITH o AS (DELETE FROM mixpeek.outbox), d AS (DELETE FROM mixpeek.documents),"
		" f AS (DELETE FROM mixpeek.forgotten),"
		" n AS (UPDATE mixpeek.origin SET id = pg_catalog.gen_random_uuid())"
		" INSERT INTO mixpeek.outbox (relation, operation, collection)"
		" SELECT relation, 'B', collection FROM mixpeek.mirrors WHERE collection IS NOT NULL",
		0, {0}
	};
	bool		as_copy = !PG_ARGISNULL(0) && PG_GETARG_BOOL(0);
	UserState	guard;
	char	   *id;

	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	if (as_copy && origin_problem(&id) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database is not a copy"),
				 errdetail("Its documents are its own.")));
	run_with_identity(&take_over, place_current());
	if (as_copy)
	{
		statement_run(&start_anew, NULL, NULL);
		statement_end();
	}
	else
		distrust_inserts();
	user_restore(&guard);
	outbox_note_unknown();
	wakeup_at_commit(WAKEUP_WORKER);
	PG_RETURN_VOID();
}
