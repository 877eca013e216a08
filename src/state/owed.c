/*-------------------------------------------------------------------------
 *
 * owed.c
 *		Owed deletes: records of documents that must be deleted, and that no row or mirror names.
 *
 * Nothing is deleted that is wanted again.  A row whose marker an owed delete has takes
 * the record back before it is sent (owed_take_back()), and an owed delete whose document
 * has become another record's is dropped (owed_forget_wanted()).
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/clock.h"
#include "base/statement.h"
#include "catalog/pg_type.h"
#include "remote/marker.h"
#include "remote/server.h"
#include "state/mirror_records.h"
#include "state/outbox.h"
#include "state/outbox_buffer.h"
#include "state/owed.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/*
 * Make owed deletes of the records that a condition selects, as an SQL statement; it returns the number of documents.
 *
 * $1: now; $2: when the requests that are under way have ended; $3: the owner, or NULL: the tables' owners
 *
 * Other owed deletes may be of the same document, so the key is new.  A request that may be under way has its
 * rest.  The times at which the deletes are due differ by a microsecond each: the worker reads due records
 * in the order of their times, some at a time.
 */
#define OWE(condition) \
	"WITH d AS (DELETE FROM mixpeek.documents WHERE " condition " RETURNING *)," \
	" o AS (SELECT *, coalesce($3, (SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = d.relation)) AS deleter," \
	"  CASE WHEN state = 'sending' THEN $2" \
	"   WHEN state <> 'mirrored' AND (in_doubt OR content_hash IS NULL) AND next_attempt_at > $1 THEN next_attempt_at" \
	"   ELSE $1 END + row_number() OVER () * interval '1 microsecond' AS due" \
	"  FROM d WHERE " HAS_DOCUMENT ")," \
	" f AS (" KEEP_FORGOTTEN("o", "NULL") ")," \
	" i AS (INSERT INTO mixpeek.documents (relation, owner, collection, key, document_id, replaced_id, fields, server," \
	"   place, marker, created_at, state, next_attempt_at, in_doubt)" \
	"  SELECT 0, deleter, collection, pg_catalog.gen_random_uuid()::text, document_id, replaced_id, fields, server," \
	"   place, marker, created_at, 'pending', due, in_doubt FROM o WHERE deleter IS NOT NULL)" \
	" SELECT count(*) FROM o"

#define OWE_TYPES TIMESTAMPTZOID, TIMESTAMPTZOID, OIDOID, OIDOID, TEXTOID, TEXTOID

/* Run a statement made by OWE() for a mirror or a key of it; relation 0: for all records. */
static int64
run_owe(Statement *query, Oid relation, const char *collection, const char *key, Oid owner, int rest)
{
	Datum		args[6] = {0};
	char		nulls[] = "  nnnn";
	int64		n;

	args[0] = TimestampTzGetDatum(clock_now());
	args[1] = TimestampTzGetDatum(clock_in(rest));
	if (OidIsValid(relation))
	{
		args[2] = ObjectIdGetDatum(owner);
		args[3] = ObjectIdGetDatum(relation);
		args[4] = CStringGetTextDatum(collection);
		nulls[2] = nulls[3] = nulls[4] = ' ';
	}
	if (key)
	{
		args[5] = CStringGetTextDatum(key);
		nulls[5] = ' ';
	}
	statement_run(query, args, nulls);
	n = DatumGetInt64(statement_value(0, 1, NULL));
	statement_end();
	return n;
}

int64
document_owe_delete(Oid relation, const char *collection, const char *key, Oid owner, int rest)
{
	static Statement of_mirror = {OWE("relation = $4 AND collection = $5"), 6, {OWE_TYPES}};
	static Statement of_key = {OWE("relation = $4 AND collection = $5 AND key = $6"), 6, {OWE_TYPES}};

	return run_owe(key ? &of_key : &of_mirror, relation, collection, key, owner, rest);
}

/* Return the milliseconds after which a request that is under way to any of the servers has ended. */
static int
longest_rest(void)
{
	int			rest = 0;
	ListCell   *lc;

	foreach(lc, server_list_places())
		rest = Max(rest, ((ServerPlace *) lfirst(lc))->request_timeout);
	return rest;
}

void
document_owe_all(void)
{
	static Statement all = {OWE("relation <> 0::oid"), 6, {OWE_TYPES}};

	(void) run_owe(&all, InvalidOid, NULL, NULL, InvalidOid, longest_rest());
	owed_announce();
}

/*
 * A due time that this transaction has stored may be one that the worker has passed when it is
 * committed.
 */
void
owed_announce(void)
{
	outbox_add(InvalidOid, OUTBOX_ALL_STORED, "", NULL);
}

bool
owed_is_announcement(Oid relation, char operation)
{
	return !OidIsValid(relation) && operation == OUTBOX_ALL_STORED;
}

char *
owed_scope(const char *server, Oid owner)
{
	return psprintf("%u/%s", owner, server);
}

/*
 * Documents that are wanted again
 */

List *
owed_find(char *const *markers, int n)
{
	static Statement query = {
		"SELECT d.marker, d.collection, d.key, d.server, d.owner::oid, d.state = 'failed', d.state = 'sending',"
		" d.place IS NOT NULL, coalesce(d.place, 0)"
		" FROM unnest($1) AS u (m) JOIN mixpeek.documents d ON d.marker = u.m AND d.owner IS NOT NULL"
		" WHERE d.relation = 0::oid",
		1, {TEXTARRAYOID}
	};
	Datum		args[1];
	List	   *found = NIL;

	args[0] = statement_text_array(markers, n);
	statement_run(&query, args, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		OwedDelete *owed = statement_palloc(sizeof(OwedDelete));

		owed->marker = statement_text(tuple, 1);
		owed->collection = statement_text(tuple, 2);
		owed->key = statement_text(tuple, 3);
		owed->server = statement_text(tuple, 4);
		owed->owner = DatumGetObjectId(statement_value(i, 5, NULL));
		owed->failed = DatumGetBool(statement_value(i, 6, NULL));
		owed->sending = DatumGetBool(statement_value(i, 7, NULL));
		owed->place_known = DatumGetBool(statement_value(i, 8, NULL));
		owed->place = DatumGetInt64(statement_value(i, 9, NULL));
		found = statement_lappend(found, owed);
	}
	statement_end();
	return found;
}

/*
 * The record of the key may know of a create in doubt, and of nothing else at the API.  Both records' doubts,
 * fields and rests hold for the merged one.
 */
bool
owed_take_back(const OwedDelete *owed, Oid relation, const char *key)
{
	static Statement query = {
		"WITH o AS (DELETE FROM mixpeek.documents WHERE ctid = (SELECT ctid FROM mixpeek.documents"
		"  WHERE relation = 0::oid AND collection = $1 AND key = $2 FOR UPDATE SKIP LOCKED) RETURNING *)"
		" INSERT INTO mixpeek.documents AS r (relation, collection, key, document_id, replaced_id, fields, server, place,"
		"  marker, created_at, state, next_attempt_at, in_doubt)"
		" SELECT $3, collection, $4, document_id, replaced_id, fields, server, place,"
		"  marker, created_at, 'pending', coalesce(next_attempt_at, $5), in_doubt FROM o"
		" ON CONFLICT (relation, collection, key) DO UPDATE SET document_id = EXCLUDED.document_id,"
		"  replaced_id = EXCLUDED.replaced_id, server = EXCLUDED.server, place = EXCLUDED.place, marker = EXCLUDED.marker,"
		"  fields = (SELECT pg_catalog.array_agg(DISTINCT name) FROM pg_catalog.unnest(r.fields || EXCLUDED.fields) AS u (name)),"
		"  state = 'pending', attempts = 0, next_attempt_at = greatest(r.next_attempt_at, EXCLUDED.next_attempt_at),"
		"  in_doubt = r.in_doubt OR EXCLUDED.in_doubt, content_hash = NULL, features_hash = NULL,"
		"  intent_hash = CASE WHEN NOT EXCLUDED.in_doubt THEN r.intent_hash END",
		5, {TEXTOID, TEXTOID, OIDOID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		args[5];

	args[0] = CStringGetTextDatum(owed->collection);
	args[1] = CStringGetTextDatum(owed->key);
	args[2] = ObjectIdGetDatum(relation);
	args[3] = CStringGetTextDatum(key);
	args[4] = TimestampTzGetDatum(clock_now());
	return statement_execute(&query, args, NULL) > 0;
}

/* Forget those of a job's documents that are wanted; the one that is left, if any, is document_id. */
static void
forget_wanted(Job *job, bool document, bool replaced)
{
	if (replaced)
		job->replaced_id = NULL;
	if (!document)
		return;
	job->document_id = job->replaced_id;
	job->replaced_id = NULL;
}

/*
 * Places and collections are not compared: one API may have several URLs, and a collection has a name and an id.
 */
void
owed_forget_wanted(const List *jobs)
{
	static Statement query = {
		"SELECT EXISTS (SELECT FROM mixpeek.documents d WHERE d.document_id = u.i AND d.document_id IS NOT NULL"
		"  AND d.relation <> 0::oid)"
		" FROM unnest($1) WITH ORDINALITY AS u (i, n) ORDER BY u.n",
		1, {TEXTARRAYOID}
	};
	int			n = list_length(jobs);
	char	  **ids = palloc(sizeof(char *) * (2 * n + 1));
	Datum		args[1];

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		const Job  *job = list_nth(jobs, i);

		ids[2 * i] = job->document_id;
		ids[2 * i + 1] = job->replaced_id ? job->replaced_id : job->document_id;
	}
	args[0] = statement_text_array(ids, 2 * n);
	statement_run(&query, args, NULL);
	for (int i = 0; i < n; i++)
		forget_wanted(list_nth(jobs, i), DatumGetBool(statement_value(2 * i, 1, NULL)),
					  DatumGetBool(statement_value(2 * i + 1, 1, NULL)));
	statement_end();
}

/*
 * Failed ones
 */

int64
owed_retry(Oid user, const char *collection, const char *error)
{
	static Statement query = {
		"WITH i AS (INSERT INTO mixpeek.outbox (relation, operation, collection, key)"
		" SELECT 0, $4, collection, key FROM mixpeek.documents"
		" WHERE relation = 0::oid AND state = 'failed' AND pg_catalog.pg_has_role($1, owner::oid, 'USAGE')"
		" AND ($2 IS NULL OR collection = $2) AND ($3 IS NULL OR last_error LIKE $3)"
		" RETURNING ctid) SELECT count(*), min(ctid), max(ctid) FROM i",
		4, {OIDOID, TEXTOID, TEXTOID, CHAROID}
	};
	Datum		args[4];
	char		nulls[] = "    ";

	args[0] = ObjectIdGetDatum(user);
	args[1] = collection ? CStringGetTextDatum(collection) : (Datum) 0;
	args[2] = error ? CStringGetTextDatum(error) : (Datum) 0;
	args[3] = CharGetDatum(OUTBOX_RECHECK);
	nulls[1] = collection ? ' ' : 'n';
	nulls[2] = error ? ' ' : 'n';
	return mirror_records_insert_entries(&query, args, nulls);
}

bool
owed_is_retry(const OutboxEntry *entry)
{
	return !OidIsValid(entry->relation) && entry->operation == OUTBOX_RECHECK && *entry->collection && entry->key;
}

void
owed_retry_one(const OutboxEntry *entry)
{
	static Statement query = {
		"UPDATE mixpeek.documents SET state = 'pending', attempts = 0, next_attempt_at = greatest(next_attempt_at, $3)"
		" WHERE relation = 0::oid AND collection = $1 AND key = $2 AND state = 'failed'",
		3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		args[3];

	args[0] = CStringGetTextDatum(entry->collection);
	args[1] = CStringGetTextDatum(entry->key);
	args[2] = TimestampTzGetDatum(clock_now());
	(void) statement_execute(&query, args, NULL);
}

/* Check whether an owed delete at a place has failed. */
static bool
any_failed_at(const char *place)
{
	static Statement query = {
		"SELECT EXISTS (SELECT FROM mixpeek.documents WHERE relation = 0::oid AND state = 'failed' AND place::text = $1)",
		1, {TEXTOID}
	};
	Datum		args[1];
	bool		any;

	args[0] = CStringGetTextDatum(place);
	statement_run(&query, args, NULL);
	any = DatumGetBool(statement_value(0, 1, NULL));
	statement_end();
	return any;
}

void
owed_put_return(int64 place, BlockSet *blocks)
{
	char	   *text = psprintf(INT64_FORMAT, place);

	if (!any_failed_at(text))
		return;
	outbox_put(InvalidOid, OUTBOX_RECHECK, "", &text, 1, blocks);
}

bool
owed_is_any_at(int64 place)
{
	static Statement query = {
		"SELECT FROM mixpeek.documents WHERE relation = 0::oid AND place = $1 LIMIT 1", 1, {INT8OID}
	};
	Datum		args[1];

	args[0] = Int64GetDatum(place);
	return statement_execute(&query, args, NULL) > 0;
}

bool
owed_is_return(const OutboxEntry *entry)
{
	return !OidIsValid(entry->relation) && entry->operation == OUTBOX_RECHECK && *entry->collection == '\0' && entry->key;
}

void
owed_retry_at(const OutboxEntry *entry)
{
	static Statement query = {
		"UPDATE mixpeek.documents SET state = 'pending', attempts = 0, next_attempt_at = greatest(next_attempt_at, $2)"
		" WHERE relation = 0::oid AND state = 'failed' AND place::text = $1",
		2, {TEXTOID, TIMESTAMPTZOID}
	};
	Datum		args[2];

	args[0] = CStringGetTextDatum(entry->key);
	args[1] = TimestampTzGetDatum(clock_now());
	(void) statement_execute(&query, args, NULL);
}
