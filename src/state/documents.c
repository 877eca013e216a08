/*-------------------------------------------------------------------------
 *
 * documents.c
 *		mixpeek.documents: what is known of each mirrored row's document.
 *
 * Every statement takes a batch: arrays in, one statement for all.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xact.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/statement.h"
#include "catalog/pg_type.h"
#include "mirror/key.h"
#include "remote/marker.h"
#include "state/document_table.h"
#include "state/documents.h"
#include "state/outbox.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* A record that others change each time we look is given up after so many times. */
#define MAX_CHANGES	100

/* A counter that is full stays full, and one that is not sane begins anew. */
#define MAX_POLLS		PG_INT16_MAX
#define MAX_ATTEMPTS	1000000 /* far more than mixpeek.max_attempts may be */

/* Looks for enrichments after a document was sent: seconds from one to the next. */
static const int poll_delays[] = {1, 2, 4, 15, 60, 300, 1800, 10800};

static bytea *
make_bytea(const uint8 *bytes, int len)
{
	bytea	   *result = palloc(VARHDRSZ + len);

	SET_VARSIZE(result, VARHDRSZ + len);
	memcpy(VARDATA(result), bytes, len);
	return result;
}

/*
 * What a document found later by its marker would say.  While an earlier create
 * is in doubt that is one of two things, so nothing is known, unless they are
 * the same.
 */
static bool
intent_is_certain(const Job *job)
{
	if (!job_may_create(job))
		return false;
	return !job->in_doubt ||
		(job->intent_content.known && job->intent_features.known &&
		 memcmp(job->intent_content.bytes, job->content_hash.bytes, HASH_LENGTH) == 0 &&
		 memcmp(job->intent_features.bytes, job->features_hash.bytes, HASH_LENGTH) == 0);
}

/* Of what is stored from offset on; nothing there is NO_HASH. */
static void
read_hash(TupleTableSlot *record, DocumentColumn column, ContentHash *hash, int offset)
{
	bytea	   *bytes;
	int			length;

	hash->known = false;
	if (record->tts_isnull[column])
		return;
	bytes = DatumGetByteaPP(record->tts_values[column]);
	length = VARSIZE_ANY_EXHDR(bytes) - offset;
	if (length == 0)
		*hash = NO_HASH;
	else if (length >= HASH_LENGTH)
	{
		hash->known = true;
		memcpy(hash->bytes, VARDATA_ANY(bytes) + offset, HASH_LENGTH);
	}
}

/* The jobs' keys as three arrays. */
static void
key_arrays(List *jobs, Datum *arrays)
{
	Oid		   *relations = palloc(sizeof(Oid) * list_length(jobs));
	char	  **collections = palloc(sizeof(char *) * list_length(jobs));
	char	  **keys = palloc(sizeof(char *) * list_length(jobs));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, jobs)
	{
		Job		   *job = lfirst(lc);

		relations[n] = job->relation;
		collections[n] = job->collection;
		keys[n++] = job->key;
	}
	arrays[0] = statement_oid_array(relations, n);
	arrays[1] = statement_text_array(collections, n);
	arrays[2] = statement_text_array(keys, n);
}

/* Runs a statement whose parameters are those arrays. */
static void
run_on_keys(Statement *query, List *jobs)
{
	Datum		args[3];

	if (jobs == NIL)
		return;
	key_arrays(jobs, args);
	statement_run(query, args, NULL);
	statement_end();
}

/*
 * Fetch
 */

static char *
read_text(TupleTableSlot *record, DocumentColumn column)
{
	return record->tts_isnull[column] ? NULL : TextDatumGetCString(record->tts_values[column]);
}

static void
read_stored(Job *job, TupleTableSlot *record)
{
	MemoryContext old = MemoryContextSwitchTo(job->context);

	job->stored = true;
	job->record_tid = record->tts_tid;
	job->document_id = read_text(record, DOCUMENT_DOCUMENT_ID);
	job->state = read_text(record, DOCUMENT_STATE);
	job->attempts = Min(Max(DatumGetInt32(record->tts_values[DOCUMENT_ATTEMPTS]), 0), MAX_ATTEMPTS);
	job->next_attempt_at = record->tts_isnull[DOCUMENT_NEXT_ATTEMPT_AT] ? 0 :
		DatumGetTimestampTz(record->tts_values[DOCUMENT_NEXT_ATTEMPT_AT]);
	job->in_doubt = DatumGetBool(record->tts_values[DOCUMENT_IN_DOUBT]);
	job->polls = Max(DatumGetInt16(record->tts_values[DOCUMENT_ENRICHMENT_POLLS]), 0);
	job->server = read_text(record, DOCUMENT_SERVER);
	job->marker = read_text(record, DOCUMENT_MARKER);
	read_hash(record, DOCUMENT_CONTENT_HASH, &job->sent_content, 0);
	read_hash(record, DOCUMENT_FEATURES_HASH, &job->sent_features, 0);
	read_hash(record, DOCUMENT_INTENT_HASH, &job->intent_content, 0);
	read_hash(record, DOCUMENT_INTENT_HASH, &job->intent_features, HASH_LENGTH);
	MemoryContextSwitchTo(old);
}

static TupleTableSlot *
find_line(DocumentTable *table, Job *job)
{
	return document_table_find(table, &job->record_tid, job->relation, job->collection, job->key);
}

void
document_fetch(List *jobs)
{
	DocumentTable *table;
	ListCell   *lc;

	if (jobs == NIL)
		return;
	table = document_table_open();
	foreach(lc, jobs)
	{
		Job		   *job = lfirst(lc);
		TupleTableSlot *record = find_line(table, job);

		if (record)
			read_stored(job, record);
	}
	document_table_close(table);
}

/*
 * Changing records
 */

static int
stored_length(const ContentHash *hash)
{
	return memcmp(hash->bytes, NO_HASH.bytes, HASH_LENGTH) == 0 ? 0 : HASH_LENGTH;
}

static void
set_hash(TupleTableSlot *record, DocumentColumn column, const ContentHash *hash)
{
	if (hash->known)
		record_set(record, column, PointerGetDatum(make_bytea(hash->bytes, stored_length(hash))));
	else
		record_set_null(record, column);
}

static void
set_hashes(TupleTableSlot *record, DocumentColumn column, const ContentHash *content, const ContentHash *features)
{
	uint8		both[2 * HASH_LENGTH];

	memcpy(both, content->bytes, HASH_LENGTH);
	memcpy(both + HASH_LENGTH, features->bytes, HASH_LENGTH);
	record_set(record, column, PointerGetDatum(make_bytea(both, HASH_LENGTH + stored_length(features))));
}

static void
set_due(TupleTableSlot *record, TimestampTz due)
{
	if (due)
		record_set(record, DOCUMENT_NEXT_ATTEMPT_AT, TimestampTzGetDatum(due));
	else
		record_set_null(record, DOCUMENT_NEXT_ATTEMPT_AT);
}

typedef void (*LineChange) (const Job *job, TupleTableSlot *record);

/*
 * Changes the record of each job's key; those that are gone stay gone, and so does
 * what a trigger on the table says no to.
 */
static void
change_lines(List *jobs, LineChange change)
{
	DocumentTable *table;
	ListCell   *lc;

	if (jobs == NIL)
		return;
	table = document_table_open();
	foreach(lc, jobs)
	{
		Job		   *job = lfirst(lc);

		crash_note(job->relation);
		for (int i = 0; i < MAX_CHANGES && find_line(table, job) != NULL; i++)
		{
			TupleTableSlot *record = document_table_change(table);
			MemoryContext old = MemoryContextSwitchTo(document_table_memory(table));

			change(job, record);
			MemoryContextSwitchTo(old);
			if (document_table_update(table))
			{
				job->record_tid = record->tts_tid;
				break;
			}
		}
	}
	crash_note_clear();
	document_table_close(table);
}

/*
 * Intend
 */

/* A record's content is not known until an answer says so. */
static void
set_intent(const Job *job, TupleTableSlot *record)
{
	record_set_text(record, DOCUMENT_STATE, "sending");
	record_set(record, DOCUMENT_ATTEMPTS, Int32GetDatum(job->attempts));
	record_set(record, DOCUMENT_IN_DOUBT, BoolGetDatum(job->in_doubt || job_may_create(job)));
	record_set_text(record, DOCUMENT_SERVER, job->server);
	record_set_text(record, DOCUMENT_MARKER, job->marker);
	record_set_null(record, DOCUMENT_CONTENT_HASH);
	record_set_null(record, DOCUMENT_FEATURES_HASH);
	if (!job_may_create(job))
		set_hash(record, DOCUMENT_FEATURES_HASH, &job->sent_features);
	record_set_null(record, DOCUMENT_INTENT_HASH);
	if (intent_is_certain(job))
		set_hashes(record, DOCUMENT_INTENT_HASH, &job->content_hash, &job->features_hash);
	record_set_null(record, DOCUMENT_NEXT_ATTEMPT_AT);
}

static List *
jobs_stored(List *jobs, bool stored)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, jobs)
	{
		if (((Job *) lfirst(lc))->stored == stored)
			result = lappend(result, lfirst(lc));
	}
	return result;
}

static void
add_lines(List *jobs)
{
	DocumentTable *table;
	List	   *added = NIL;
	ListCell   *lc;
	ListCell   *lc2;
	MemoryContext old;

	if (jobs == NIL)
		return;
	table = document_table_open();
	old = MemoryContextSwitchTo(document_table_memory(table));
	foreach(lc, jobs)
	{
		const Job  *job = lfirst(lc);
		TupleTableSlot *record = document_table_add(table);

		record_set(record, DOCUMENT_RELATION, ObjectIdGetDatum(job->relation));
		record_set_text(record, DOCUMENT_COLLECTION, job->collection);
		record_set_text(record, DOCUMENT_KEY, job->key);
		record_set_text(record, DOCUMENT_DOCUMENT_ID, job->document_id);
		record_set(record, DOCUMENT_CREATED_AT, TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));
		record_set(record, DOCUMENT_ENRICHMENT_POLLS, Int16GetDatum(0));
		set_intent(job, record);
		added = lappend(added, record);
	}
	document_table_insert(table);
	forboth(lc, jobs, lc2, added)
		((Job *) lfirst(lc))->record_tid = ((TupleTableSlot *) lfirst(lc2))->tts_tid;
	MemoryContextSwitchTo(old);
	document_table_close(table);
}

void
document_intend(List *jobs)
{
	add_lines(jobs_stored(jobs, false));
	change_lines(jobs_stored(jobs, true), set_intent);
}

/* A worker that ends before the look does looks again after a minute. */
static void
set_postponed(const Job *job, TupleTableSlot *record)
{
	set_due(record, clock_in(60000));
}

void
document_postpone(List *jobs)
{
	change_lines(jobs, set_postponed);
}

/*
 * Settle
 */

static TimestampTz
next_poll(const Job *job)
{
	if (job->polls >= (int) lengthof(poll_delays))
		return 0;
	return clock_in(poll_delays[job->polls] * INT64CONST(1000));
}

TimestampTz
document_due(const Job *job)
{
	switch (job->outcome)
	{
		case OUTCOME_MIRRORED:
			return next_poll(job);
		case OUTCOME_PENDING:
			return job->next_attempt_at;
		case OUTCOME_FAILED:	/* not before, if somebody wants it tried
								 * again */
			return job->next_attempt_at > clock_now() ? job->next_attempt_at : 0;
		default:
			return 0;
	}
}

static const char *
state_name(const Job *job)
{
	switch (job->outcome)
	{
		case OUTCOME_MIRRORED:
			return "mirrored";
		case OUTCOME_PENDING:
			return "pending";
		default:
			return "failed";
	}
}

static List *
with_outcome(List *jobs, bool forgotten)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, jobs)
	{
		if ((((Job *) lfirst(lc))->outcome == OUTCOME_FORGOTTEN) == forgotten)
			result = lappend(result, lfirst(lc));
	}
	return result;
}

static bool
same_jsonb(const Jsonb *a, Datum b)
{
	return compareJsonbContainers((JsonbContainer *) &a->root, &DatumGetJsonbP(b)->root) == 0;
}

/*
 * Enrichments that differ from those stored end the looks for more, unless they have
 * not got into the row's columns.  Those stored are kept where the answer has none,
 * unless they are another document's.
 */
static void
set_enrichments(const Job *job, TupleTableSlot *record)
{
	bool		none_stored = record->tts_isnull[DOCUMENT_ENRICHMENTS];
	Datum		stored = record->tts_values[DOCUMENT_ENRICHMENTS];
	char	   *stored_id = read_text(record, DOCUMENT_DOCUMENT_ID);
	bool		other = job->document_id == NULL || stored_id == NULL || strcmp(job->document_id, stored_id) != 0;

	if (job->enrichments == NULL && other)
		record_set_null(record, DOCUMENT_ENRICHMENTS);
	if (job->enrichments == NULL)
		return;
	record_set(record, DOCUMENT_ENRICHMENTS, JsonbPGetDatum(job->enrichments));
	if (job->outcome == OUTCOME_MIRRORED && !job->unwritten &&
		(none_stored || !same_jsonb(job->enrichments, stored)))
		record_set_null(record, DOCUMENT_NEXT_ATTEMPT_AT);
}

static void
set_outcome(const Job *job, TupleTableSlot *record)
{
	bool		mirrored = job->outcome == OUTCOME_MIRRORED;

	set_due(record, document_due(job));
	set_enrichments(job, record);
	record_set_text(record, DOCUMENT_DOCUMENT_ID, job->document_id);
	record_set_text(record, DOCUMENT_STATE, state_name(job));
	record_set(record, DOCUMENT_ATTEMPTS, Int32GetDatum(job->attempts));
	record_set_text(record, DOCUMENT_LAST_ERROR, job->error);
	record_set(record, DOCUMENT_IN_DOUBT, BoolGetDatum(job->in_doubt));
	record_set(record, DOCUMENT_ENRICHMENT_POLLS, Int16GetDatum(mirrored ? Min(job->polls + 1, MAX_POLLS) : job->polls));
	set_hash(record, DOCUMENT_CONTENT_HASH, &job->sent_content);
	set_hash(record, DOCUMENT_FEATURES_HASH, &job->sent_features);
	if (job->in_doubt && job->intent_content.known)
		set_hashes(record, DOCUMENT_INTENT_HASH, &job->intent_content, &job->intent_features);
	else
		record_set_null(record, DOCUMENT_INTENT_HASH);
	if (mirrored && !job->refresh)
		record_set(record, DOCUMENT_MIRRORED_AT, TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));
}

static void
forget_outcomes(List *jobs)
{
	static Statement query = {
		"DELETE FROM mixpeek.documents d USING ROWS FROM (unnest($1), unnest($2), unnest($3))"
		" AS u (r, c, k) WHERE d.relation = u.r AND d.collection = u.c AND d.key = u.k",
		3, {OIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID}
	};

	run_on_keys(&query, jobs);
}

void
document_settle(List *jobs)
{
	change_lines(with_outcome(jobs, false), set_outcome);
	forget_outcomes(with_outcome(jobs, true));
}

/*
 * Single statements
 */

/* Runs a statement for its effect; returns the number of records. */
static int64
run_command(Statement *query, Datum *args, const char *nulls)
{
	int64		n;

	statement_run(query, args, nulls);
	n = SPI_processed;
	statement_end();
	return n;
}

/* Their request may still be at work, or ($1) may be so by a clock that is not known any more. */
#define IS_ABANDONED "(d.state = 'sending' OR $1 AND d.state IN ('pending', 'failed') AND d.next_attempt_at IS NOT NULL" \
	" AND (d.in_doubt OR d.document_id IS NOT NULL AND d.content_hash IS NULL))"

List *
document_abandoned(void)
{
	static Statement query = {
		"SELECT DISTINCT d.server, coalesce(c.relowner, 0), d.relation::oid FROM mixpeek.documents d"
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
		bool		isnull;

		abandoned->server = statement_text(SPI_tuptable->vals[i], 1);
		abandoned->owner = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
														  SPI_tuptable->tupdesc, 2, &isnull));
		abandoned->relation = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
															 SPI_tuptable->tupdesc, 3, &isnull));
		result = statement_lappend(result, abandoned);
	}
	statement_end();
	return result;
}

void
document_recover(const AbandonedKeys *abandoned, int rest)
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
	run_command(&query, args, NULL);
}

void
document_bound_waits(int max_delay)
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
	args[2] = TimestampTzGetDatum(clock_in(poll_delays[lengthof(poll_delays) - 1] * INT64CONST(1000)));
	run_command(&query, args, NULL);
}

bool
document_hurry(const char *server, Oid owner, TimestampTz *position, int limit)
{
	static Statement query = {
		"WITH s AS MATERIALIZED (SELECT d.ctid AS tid, d.next_attempt_at AS due, d.state = 'pending' AND NOT d.in_doubt"
		"  AND (d.document_id IS NULL OR d.content_hash IS NOT NULL) AND d.server = $1 AND $2 ="
		"  (SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = d.relation) AS wanted"
		"  FROM mixpeek.documents d WHERE d.next_attempt_at >= $3 ORDER BY d.next_attempt_at LIMIT $4),"
		" u AS (UPDATE mixpeek.documents SET next_attempt_at = $5"
		"  WHERE ctid = ANY (ARRAY(SELECT tid FROM s WHERE wanted)))"
		" SELECT max(due), count(*) FROM s",
		5, {TEXTOID, OIDOID, TIMESTAMPTZOID, INT8OID, TIMESTAMPTZOID}
	};
	Datum		args[5];
	Datum		last;
	Datum		n;
	bool		isnull;

	args[0] = CStringGetTextDatum(server);
	args[1] = ObjectIdGetDatum(owner);
	args[2] = TimestampTzGetDatum(*position);
	args[3] = Int64GetDatum(limit);
	args[4] = TimestampTzGetDatum(clock_now());
	statement_run(&query, args, NULL);
	n = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull);
	last = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
		*position = DatumGetTimestampTz(last);
	statement_end();
	return DatumGetInt64(n) == limit;
}

List *
document_read_due(TimestampTz from, TimestampTz until, int limit)
{
	static Statement query = {
		"SELECT relation, collection, key, next_attempt_at FROM mixpeek.documents"
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
		HeapTuple	record = SPI_tuptable->vals[i];
		DueKey	   *due = statement_palloc(sizeof(DueKey));
		bool		isnull;

		due->relation = DatumGetObjectId(SPI_getbinval(record, SPI_tuptable->tupdesc, 1, &isnull));
		due->collection = statement_text(record, 2);
		due->key = statement_text(record, 3);
		due->due = DatumGetTimestampTz(SPI_getbinval(record, SPI_tuptable->tupdesc, 4, &isnull));
		keys = statement_lappend(keys, due);
	}
	statement_end();
	return keys;
}

TimestampTz
document_next_due(TimestampTz after)
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
	datum = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
		due = DatumGetTimestampTz(datum);
	statement_end();
	return due;
}

List *
document_scan_keys(Oid relation, const char *collection, const char *after, int limit)
{
	static Statement query = {
		"SELECT key FROM mixpeek.documents WHERE relation = $1 AND collection = $2"
		" AND key > $3 ORDER BY key LIMIT $4",
		4, {OIDOID, TEXTOID, TEXTOID, INT8OID}
	};
	static Statement first_query = {
		"SELECT key FROM mixpeek.documents WHERE relation = $1 AND collection = $2"
		" AND ($3 IS NULL) ORDER BY key LIMIT $4",
		4, {OIDOID, TEXTOID, TEXTOID, INT8OID}
	};
	Datum		args[4];
	List	   *keys = NIL;

	args[0] = ObjectIdGetDatum(relation);
	args[1] = CStringGetTextDatum(collection);
	args[2] = after ? CStringGetTextDatum(after) : (Datum) 0;
	args[3] = Int64GetDatum(limit);
	statement_run(after ? &query : &first_query, args, after ? NULL : "  n ");
	for (uint64 i = 0; i < SPI_processed; i++)
		keys = statement_lappend(keys, statement_text(SPI_tuptable->vals[i], 1));
	statement_end();
	return keys;
}

void
document_forget(Oid relation, const char *collection)
{
	static Statement query = {
		"WITH d AS (DELETE FROM mixpeek.documents WHERE relation = $1 AND ($2 IS NULL OR collection = $2)"
		"  RETURNING marker, key, collection, document_id, in_doubt)"
		" INSERT INTO mixpeek.forgotten (marker_prefix, collection)"
		" SELECT DISTINCT " MARKER_PREFIX_OF_RECORD ", collection FROM d"
		" WHERE document_id IS NOT NULL OR in_doubt ON CONFLICT DO NOTHING",
		2, {OIDOID, TEXTOID}
	};
	Datum		args[2];

	args[0] = ObjectIdGetDatum(relation);
	args[1] = collection ? CStringGetTextDatum(collection) : (Datum) 0;
	run_command(&query, args, collection ? "  " : " n");
}

bool
document_was_forgotten(const char *marker_prefix, const char *collection)
{
	static Statement query = {
		"SELECT FROM mixpeek.forgotten WHERE marker_prefix IN ('', $1) AND collection IN ('', $2)",
		2, {TEXTOID, TEXTOID}
	};
	Datum		args[2];
	bool		found;

	args[0] = CStringGetTextDatum(marker_prefix);
	args[1] = CStringGetTextDatum(collection);
	statement_run(&query, args, NULL);
	found = SPI_processed > 0;
	statement_end();
	return found;
}

/* Runs a statement that puts entries into the outbox, and returns their number. */
static int64
put_entries(Statement *query, Datum *args, const char *nulls)
{
	bool		isnull;
	int64		n;

	statement_run(query, args, nulls);
	n = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	if (n > 0)
	{
		Datum		first = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull);
		Datum		last = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull);

		outbox_note_written((ItemPointer) DatumGetPointer(first), (ItemPointer) DatumGetPointer(last));
	}
	statement_end();
	return n;
}

/*
 * Both mark keys by entries in the outbox: a record that the caller's transaction
 * had changed would make the worker wait for it.
 */
int64
document_retry(Oid relation, const char *collection, const char *error)
{
	static Statement query = {
		"WITH i AS (INSERT INTO mixpeek.outbox (relation, operation, collection, key)"
		" SELECT relation, 'K', collection, key FROM mixpeek.documents"
		" WHERE relation = $1 AND state = 'failed' AND ($2 IS NULL OR collection = $2)"
		" AND ($3 IS NULL OR last_error LIKE $3)"
		" AND key !~ " KEY_ABBREVIATED_PATTERN
		" RETURNING ctid) SELECT count(*), min(ctid), max(ctid) FROM i",
		3, {OIDOID, TEXTOID, TEXTOID}
	};
	Datum		args[3];
	char		nulls[4] = "   ";

	args[0] = ObjectIdGetDatum(relation);
	args[1] = collection ? CStringGetTextDatum(collection) : (Datum) 0;
	args[2] = error ? CStringGetTextDatum(error) : (Datum) 0;
	nulls[1] = collection ? ' ' : 'n';
	nulls[2] = error ? ' ' : 'n';
	return put_entries(&query, args, nulls);
}

int64
document_refresh(Oid relation, const char *collection)
{
	static Statement query = {
		"WITH i AS (INSERT INTO mixpeek.outbox (relation, operation, collection, key)"
		" SELECT relation, 'R', collection, key FROM mixpeek.documents"
		" WHERE relation = $1 AND state = 'mirrored' AND ($2 IS NULL OR collection = $2)"
		" RETURNING ctid) SELECT count(*), min(ctid), max(ctid) FROM i",
		2, {OIDOID, TEXTOID}
	};
	Datum		args[2];

	args[0] = ObjectIdGetDatum(relation);
	args[1] = collection ? CStringGetTextDatum(collection) : (Datum) 0;
	return put_entries(&query, args, collection ? "  " : " n");
}
