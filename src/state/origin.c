/*-------------------------------------------------------------------------
 *
 * origin.c
 *		The origin of documents, and whether this database may change them.
 *
 * A copy of a database has the same mirrors, API keys and document ids as the original, and
 * would change and delete the original's documents.  So mixpeek.origin says in which
 * database and at which place it was made, and the worker works only there:
 *
 * - Another cluster or database (pg_dump and restore, CREATE DATABASE ...
 *   TEMPLATE, pg_upgrade) is considered a copy.
 * - The same cluster at another place (a base backup, a snapshot of its file
 *   system or disk) is considered a copy, unless it was a standby that received WAL from its
 *   primary and was promoted.  That is a failover, and the new place is stored.
 *
 * The place is the setting mixpeek.instance, or else what can be found out about host, disk and
 * data directory (place.c).  If the original is mistaken for a copy, the mirrors stop
 * until a superuser calls mixpeek.adopt(); if a copy were mistaken for the original, documents
 * would be destroyed.
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

/* Check whether the server has received WAL as a standby since it was started, and is no standby any more. */
static bool
was_promoted(void)
{
	return !RecoveryInProgress() && GetWalRcvFlushRecPtr(NULL, NULL) != InvalidXLogRecPtr;
}

/* Run a statement whose parameters are this cluster, this database and a place. */
static void
run_with_identity(Statement *query, const char *place)
{
	Datum		args[3];

	args[0] = Int64GetDatum((int64) GetSystemIdentifier());
	args[1] = ObjectIdGetDatum(MyDatabaseId);
	args[2] = CStringGetTextDatum(place);
	(void) statement_execute(query, args, NULL);
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
 * From now on, do not assume that an inserted row has no document: after a restore or failover it
 * may have been mirrored before.
 */
static void
distrust_inserts(void)
{
	static Statement insert = {
		"INSERT INTO mixpeek.forgotten VALUES ('', '') ON CONFLICT DO NOTHING", 0, {0}
	};

	(void) statement_execute(&insert, NULL, NULL);
}

static void
store_place(const char *place)
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

	return statement_execute(&query, NULL, NULL) > 0;
}

/* Read mixpeek.origin.  The texts are palloc'd.  Returns false if it is empty. */
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

/* Store what has become known of the same place since.  Only the worker does. */
static void
update_place(const char *noted, const char *current)
{
	char	   *place;

	if (strcmp(noted, current) == 0 || MyBackendType != B_BG_WORKER)
		return;
	place = place_merge(noted, current);
	if (strcmp(place, noted) != 0)
		store_place(place);
}

char *
origin_problem(char **id)
{
	bool		same_database;
	char	   *noted;
	const char *current = place_current();
	char	   *difference;

	*id = NULL;
	if (!read_origin(id, &same_database, &noted))
	{
		/* nothing was ever mirrored here, or a restore is not complete */
		return has_documents() ? pstrdup("the origin of this database's documents is not known (yet)") : NULL;
	}
	if (!same_database)
		return pstrdup("this database is a copy of the one to which its documents belong");
	difference = place_difference(noted, current);
	if (difference == NULL)
	{
		update_place(noted, current);
		return NULL;
	}
	if (was_promoted())
	{
		store_place(current);
		distrust_inserts();
		return NULL;
	}
	return psprintf("this server runs at \"%s\", and its documents belong to \"%s\" (not the same: %s)",
					place_name(current), place_name(noted), difference);
}

/*
 * adopt(as_copy boolean): declare that this database has replaced the one from which it was copied, and
 * continues with its documents; or that it is a copy, which forgets these documents and
 * mirrors its rows into documents of its own.  For superusers, and for roles that were granted
 * EXECUTE.  Raises ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if as_copy is true but the
 * database is not a copy.
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
		" SELECT relation, $1, collection FROM mixpeek.mirrors WHERE collection IS NOT NULL",
		1, {CHAROID}
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
		Datum		operation = CharGetDatum(OUTBOX_ALL_ROWS);

		(void) statement_execute(&start_anew, &operation, NULL);
	}
	else
		distrust_inserts();
	user_restore(&guard);
	outbox_note_unknown();
	wakeup_at_commit(WAKEUP_WORKER);
	PG_RETURN_VOID();
}
