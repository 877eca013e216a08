/*-------------------------------------------------------------------------
 *
 * origin.c
 *		The origin of documents, and whether this database may change them.
 *
 * A copy of a database has the same mirrors, API keys and document ids as the original, and
 * would change and delete the original's documents.  So mixpeek.origin says in which
 * database and at which instance it was made, and the worker works only there:
 *
 * - Another cluster or database (pg_dump and restore, CREATE DATABASE ...
 *   TEMPLATE, pg_upgrade) is considered a copy.
 * - The same cluster at another instance (a base backup, a snapshot of its file
 *   system or disk) is considered a copy, unless it was a standby that received WAL from its
 *   primary and was promoted.  That is a failover, and the new instance is stored.
 *
 * The same database at the same instance may have gone back to an earlier time, and then its records
 * say of documents what was true then.  So the row also says when it was written:
 *
 * - by which transaction.  A dump that is restored over its own database brings the row's values,
 *   but the row was written by another transaction then.  (A row keeps its xmin when it is
 *   frozen, and pg_upgrade copies it.)
 * - on which timeline of the WAL.  A recovery to an earlier time begins a new one, as a
 *   promotion does.
 * - in which incarnation.  A file outside of the data directory knows it, and how far the WAL
 *   had been written (witness.c), so that a snapshot of the volume that is put back is noticed.
 *
 * TRUNCATE of the records is noted in the row, too: rows are looked up then.
 *
 * The instance is the setting mixpeek.instance, or else what can be found out about host, disk and
 * data directory (instance.c).  If the original is mistaken for a copy, the mirrors stop
 * until a superuser calls mixpeek.adopt(); if a copy were mistaken for the original, documents
 * would be destroyed.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "base/settings.h"
#include "base/statement.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "replication/walreceiver.h"
#include "state/instance.h"
#include "state/origin.h"
#include "state/witness.h"
#include "utils/builtins.h"

const char *const origin_hint =
"If it has taken the original's place, SELECT mixpeek.adopt(). If it is a copy, ALTER SERVER to "
"where its documents shall go, then SELECT mixpeek.adopt(as_copy => true).";

/* Check whether the server has received WAL as a standby since it was started, and is no standby any more. */
static bool
was_promoted(void)
{
	return !RecoveryInProgress() && GetWalRcvFlushRecPtr(NULL, NULL) != InvalidXLogRecPtr;
}

/*
 * Run a statement whose parameters are this cluster, this database, an instance, the timeline, the
 * current transaction, the incarnation that the witness has seen, and an origin (NULL: none).
 */
static void
run_with_identity(Statement *query, const char *instance, const char *id)
{
	char	   *seen = witness_incarnation();
	Datum		args[7];
	char		nulls[] = "       ";

	args[0] = Int64GetDatum((int64) GetSystemIdentifier());
	args[1] = ObjectIdGetDatum(MyDatabaseId);
	args[2] = CStringGetTextDatum(instance);
	args[3] = Int64GetDatum((int64) COMPAT_TIMELINE());
	args[4] = Int64GetDatum((int64) GetCurrentTransactionId());
	args[5] = seen ? CStringGetTextDatum(seen) : (Datum) 0;
	nulls[5] = seen ? ' ' : 'n';
	args[6] = id ? CStringGetTextDatum(id) : (Datum) 0;
	nulls[6] = id ? ' ' : 'n';
	(void) statement_execute(query, args, nulls);
}

#define IDENTITY_TYPES 7, {INT8OID, OIDOID, TEXTOID, INT8OID, INT8OID, TEXTOID, TEXTOID}

char *
origin_id(void)
{
	static Statement insert = {
		"INSERT INTO mixpeek.origin (id, system_identifier, database, instance, timeline, written_by, replaces)"
		" VALUES (coalesce($7::uuid, pg_catalog.gen_random_uuid()), $1, $2, $3, $4, $5,"
		" pg_catalog.array_remove(ARRAY[$6::uuid], NULL))"
		" ON CONFLICT DO NOTHING",
		IDENTITY_TYPES
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
			run_with_identity(&insert, instance_current(), NULL);
	}
	return id;
}

void
origin_take_over(const char *id, bool remember)
{
	static Statement take_over = {
		"INSERT INTO mixpeek.origin AS o (id, system_identifier, database, instance, timeline, written_by, replaces)"
		" VALUES (coalesce($7::uuid, pg_catalog.gen_random_uuid()), $1, $2, $3, $4, $5,"
		" pg_catalog.array_remove(ARRAY[$6::uuid], NULL))"
		" ON CONFLICT (only_one) DO UPDATE SET id = coalesce($7::uuid, o.id),"
		" former_ids = CASE WHEN $7::uuid <> o.id THEN o.former_ids || o.id ELSE o.former_ids END,"
		" system_identifier = EXCLUDED.system_identifier, database = EXCLUDED.database, instance = EXCLUDED.instance,"
		" timeline = EXCLUDED.timeline, written_by = EXCLUDED.written_by, incarnation = EXCLUDED.incarnation,"
		" replaces = ARRAY(SELECT DISTINCT r FROM pg_catalog.unnest(o.replaces || o.incarnation || EXCLUDED.replaces) r)",
		IDENTITY_TYPES
	};

	static Statement forget = {"UPDATE mixpeek.origin SET former_ids = '{}', incomplete = false, written_by = $1", 1, {INT8OID}};

	run_with_identity(&take_over, instance_current(), id);
	if (!remember)
	{
		Datum		xid = Int64GetDatum((int64) GetCurrentTransactionId());

		(void) statement_execute(&forget, &xid, NULL);
	}
}

void
origin_distrust_inserts(void)
{
	static Statement insert = {
		"INSERT INTO mixpeek.forgotten VALUES ('', '') ON CONFLICT DO NOTHING", 0, {0}
	};

	(void) statement_execute(&insert, NULL, NULL);
}

void
origin_note_truncated(void)
{
	static Statement update = {
		"UPDATE mixpeek.origin SET incomplete = true, written_by = $1 WHERE written_by = xmin::text::bigint", 1, {INT8OID}
	};
	Datum		xid = Int64GetDatum((int64) GetCurrentTransactionId());

	(void) statement_execute(&update, &xid, NULL);
}

static void
store_instance(const char *instance)
{
	static Statement update = {
		"UPDATE mixpeek.origin SET instance = $3, timeline = $4, written_by = $5"
		" WHERE system_identifier = $1 AND database = $2",
		IDENTITY_TYPES
	};

	run_with_identity(&update, instance, NULL);
}

static bool
has_documents(void)
{
	static Statement query = {"SELECT FROM mixpeek.documents LIMIT 1", 0, {0}};

	return statement_execute(&query, NULL, NULL) > 0;
}

/* Return whether a column of the row is true. */
static bool
read_flag(int column)
{
	return DatumGetBool(statement_value(0, column, NULL));
}

/* Read mixpeek.origin, with the instance and the incarnations that it replaces, with spaces between.  Returns false if it is empty. */
static bool
read_origin(Origin *origin, char **instance, char **replaces)
{
	static Statement query = {
		"SELECT id::text, incarnation::text, instance, pg_catalog.array_to_string(replaces, ' '), system_identifier = $1, database = $2,"
		" written_by = xmin::text::bigint, timeline = $3, pg_catalog.array_to_string(former_ids, ' '),"
		" incomplete"
		" FROM mixpeek.origin",
		3, {INT8OID, OIDOID, INT8OID}
	};
	Datum		args[3];

	memset(origin, 0, sizeof(Origin));
	args[0] = Int64GetDatum((int64) GetSystemIdentifier());
	args[1] = ObjectIdGetDatum(MyDatabaseId);
	args[2] = Int64GetDatum((int64) COMPAT_TIMELINE());
	statement_run(&query, args, NULL);
	if (SPI_processed > 0)
	{
		HeapTuple	tuple = SPI_tuptable->vals[0];

		origin->id = statement_text(tuple, 1);
		origin->incarnation = statement_text(tuple, 2);
		*instance = statement_text(tuple, 3);
		*replaces = statement_text(tuple, 4);
		origin->same_cluster = read_flag(5);
		origin->same_database = read_flag(6);
		origin->written_here = read_flag(7);
		origin->same_timeline = read_flag(8);
		origin->former_ids = statement_text(tuple, 9);
		origin->incomplete = read_flag(10);
	}
	statement_end();
	return origin->id != NULL;
}

/* Return the instance with what has become known of it since, or NULL if that is nothing. */
static char *
find_instance_news(const char *noted, const char *current)
{
	char	   *instance;

	if (strcmp(noted, current) == 0)
		return NULL;
	instance = instance_merge(noted, current);
	return strcmp(instance, noted) != 0 ? instance : NULL;
}

void
origin_store_news(const Origin *origin)
{
	if (origin->instance_news)
		store_instance(origin->instance_news);
	if (!origin->failed_over)
		return;
	origin_distrust_inserts();
	witness_note(origin->incarnation, GetXLogWriteRecPtr());
}

char *
origin_problem(Origin *origin)
{
	char	   *noted = NULL;
	char	   *replaces = NULL;
	const char *current;
	char	   *difference;

	memset(origin, 0, sizeof(Origin));
	if (RecoveryInProgress())
		return NULL;
	if (!read_origin(origin, &noted, &replaces))
	{
		/* nothing was ever mirrored here, or a restore is not complete */
		return has_documents() ? pstrdup("the origin of this database's documents is not known (yet)") : NULL;
	}
	if (!origin->same_cluster || !origin->same_database)
		return pstrdup("this database is a copy of the one to which its documents belong");
	if (!origin->written_here)
		return pstrdup("the records of this database's documents were restored, and may be older than the documents");
	current = instance_current();
	difference = instance_difference(noted, current);
	if (was_promoted())
	{
		origin->failed_over = difference || !origin->same_timeline;
		if (origin->failed_over)
			origin->instance_news = pstrdup(current);
		return NULL;
	}
	if (difference)
		return psprintf("this server runs at \"%s\", and its documents belong to \"%s\" (not the same: %s)",
						instance_name(current), instance_name(noted), difference);
	if (!origin->same_timeline)
		return pstrdup("this server was recovered to an earlier time, and its documents may be of a later one");
	if (witness_ask(origin->incarnation, replaces) == WITNESS_DENIES)
		return pstrdup("this server's files are those of an earlier time, and its documents may be of a later one");
	origin->instance_news = find_instance_news(noted, current);
	return NULL;
}
