/*-------------------------------------------------------------------------
 *
 * due.c
 *		Records of mixpeek.documents by the time of their next attempt.
 *
 * next_attempt_at has an index of its own.  It is null in records that wait for
 * nothing, and in those that are "sending", which are the worker's jobs.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/clock.h"
#include "base/statement.h"
#include "catalog/pg_type.h"
#include "state/documents.h"
#include "state/due.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

List *
due_read_keys(TimestampTz from, TimestampTz until, int limit)
{
	static Statement query = {
		"SELECT relation, collection, key, next_attempt_at, CASE WHEN owner IS NOT NULL THEN server END,"
		" coalesce(owner, 0)::oid, place IS NOT NULL, coalesce(place, 0) FROM mixpeek.documents"
		" WHERE next_attempt_at >= $1 AND next_attempt_at < $2 AND state <> 'failed'"
		" ORDER BY next_attempt_at LIMIT $3",
		3, {TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID}
	};
	Datum		args[3];
	List	   *keys = NIL;

	args[0] = TimestampTzGetDatum(from);
	args[1] = TimestampTzGetDatum(until);
	args[2] = Int64GetDatum(limit);
	statement_run(&query, args, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		DueKey	   *due = statement_palloc(sizeof(DueKey));

		due->relation = DatumGetObjectId(statement_value(i, 1, NULL));
		due->collection = statement_text(SPI_tuptable->vals[i], 2);
		due->key = statement_text(SPI_tuptable->vals[i], 3);
		due->due = DatumGetTimestampTz(statement_value(i, 4, NULL));
		due->server = statement_text(SPI_tuptable->vals[i], 5);
		due->owner = DatumGetObjectId(statement_value(i, 6, NULL));
		due->place_known = DatumGetBool(statement_value(i, 7, NULL));
		due->place = DatumGetInt64(statement_value(i, 8, NULL));
		keys = statement_lappend(keys, due);
	}
	statement_end();
	return keys;
}

TimestampTz
due_find_next(TimestampTz after)
{
	static Statement query = {
		"SELECT min(next_attempt_at) FROM mixpeek.documents WHERE next_attempt_at > $1"
		" AND state <> 'failed'", 1, {TIMESTAMPTZOID}
	};
	TimestampTz due = 0;
	Datum		args[1];
	Datum		datum;
	bool		isnull;

	args[0] = TimestampTzGetDatum(after);
	statement_run(&query, args, NULL);
	datum = statement_value(0, 1, &isnull);
	if (!isnull)
		due = DatumGetTimestampTz(datum);
	statement_end();
	return due;
}

/*
 * An owed delete that was claimed, which its error shows, and not sent, which would count as an attempt: its
 * server could not be used.
 */
#define IS_UNSENT_DELETE "d.owner IS NOT NULL AND d.attempts = 0 AND d.last_error IS NOT NULL"

bool
due_hurry_account(const char *server, int64 place, Oid owner, TimestampTz *position, int limit)
{
	static Statement query = {
		"WITH s AS MATERIALIZED (SELECT d.ctid AS tid, d.next_attempt_at AS due, d.state = 'pending' AND NOT d.in_doubt"
		"  AND d.replaced_id IS NULL AND (d.document_id IS NULL OR d.content_hash IS NOT NULL OR " IS_UNSENT_DELETE ")"
		"  AND (d.server = $1 OR d.owner IS NOT NULL AND d.place = $6) AND $2 ="
		"  coalesce(d.owner::oid, (SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = d.relation)) AS wanted"
		"  FROM mixpeek.documents d WHERE d.next_attempt_at >= $3 ORDER BY d.next_attempt_at LIMIT $4),"
		" u AS (UPDATE mixpeek.documents SET next_attempt_at = $5"
		"  WHERE ctid = ANY (ARRAY(SELECT tid FROM s WHERE wanted)))"
		" SELECT max(due), count(*) FROM s",
		6, {TEXTOID, OIDOID, TIMESTAMPTZOID, INT8OID, TIMESTAMPTZOID, INT8OID}
	};
	Datum		args[6];
	Datum		last;
	int64		n;
	bool		isnull;

	args[0] = CStringGetTextDatum(server);
	args[1] = ObjectIdGetDatum(owner);
	args[2] = TimestampTzGetDatum(*position);
	args[3] = Int64GetDatum(limit);
	args[4] = TimestampTzGetDatum(clock_now());
	args[5] = Int64GetDatum(place);
	statement_run(&query, args, NULL);
	last = statement_value(0, 1, &isnull);
	n = DatumGetInt64(statement_value(0, 2, NULL));
	if (!isnull)
		*position = DatumGetTimestampTz(last);
	statement_end();
	return n == limit;
}

/*
 * Records that are "sending", or if the previous worker's clock is not known ($1) wait for an
 * attempt although the API may still be processing their last request.
 */
#define IS_ABANDONED "(d.state = 'sending' OR $1 AND d.state IN ('pending', 'failed') AND d.next_attempt_at IS NOT NULL" \
	" AND (d.in_doubt OR d.replaced_id IS NOT NULL OR d.document_id IS NOT NULL AND d.content_hash IS NULL))"

List *
due_list_abandoned(void)
{
	static Statement query = {
		"SELECT DISTINCT d.server, coalesce(d.owner::oid, c.relowner, 0), d.relation::oid FROM mixpeek.documents d"
		" LEFT JOIN pg_catalog.pg_class c ON c.oid = d.relation WHERE " IS_ABANDONED,
		1, {BOOLOID}
	};
	Datum		args[1];
	List	   *result = NIL;

	args[0] = BoolGetDatum(!clock_is_continued());
	statement_run(&query, args, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		AbandonedKeys *abandoned = statement_palloc(sizeof(AbandonedKeys));

		abandoned->server = statement_text(SPI_tuptable->vals[i], 1);
		abandoned->owner = DatumGetObjectId(statement_value(i, 2, NULL));
		abandoned->relation = DatumGetObjectId(statement_value(i, 3, NULL));
		result = statement_lappend(result, abandoned);
	}
	statement_end();
	return result;
}

void
due_recover_abandoned(const AbandonedKeys *abandoned, int rest)
{
	static Statement query = {
		"UPDATE mixpeek.documents d SET next_attempt_at = greatest(next_attempt_at, $4),"
		" state = CASE state WHEN 'sending' THEN 'pending' ELSE state END,"
		" last_error = CASE state WHEN 'sending' THEN 'the worker ended before the answer came' ELSE last_error END"
		" WHERE " IS_ABANDONED " AND server = $2 AND relation = $3",
		4, {BOOLOID, TEXTOID, OIDOID, TIMESTAMPTZOID}
	};
	Datum		args[4];

	args[0] = BoolGetDatum(!clock_is_continued());
	args[1] = CStringGetTextDatum(abandoned->server);
	args[2] = ObjectIdGetDatum(abandoned->relation);
	args[3] = TimestampTzGetDatum(clock_started() + rest * INT64CONST(1000));
	(void) statement_execute(&query, args, NULL);
}

void
due_bound_waits(int max_delay)
{
	static Statement query = {
		"UPDATE mixpeek.documents SET next_attempt_at = CASE state WHEN 'mirrored' THEN $3 ELSE $2 END"
		" WHERE next_attempt_at > $1 AND next_attempt_at > CASE state WHEN 'mirrored' THEN $3 ELSE $2 END",
		3, {TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	Datum		args[3];

	if (clock_is_continued())
		return;
	args[0] = TimestampTzGetDatum(clock_now());
	args[1] = TimestampTzGetDatum(clock_in(max_delay * INT64CONST(1000)));
	args[2] = TimestampTzGetDatum(clock_in(document_longest_poll_delay() * INT64CONST(1000)));
	(void) statement_execute(&query, args, NULL);
}
