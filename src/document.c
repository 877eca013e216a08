/*-------------------------------------------------------------------------
 *
 * document.c
 *		mixpeek.documents: what is known of each mirrored row's document.
 *
 * Every statement takes a batch: arrays in, one statement for all.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "clock.h"
#include "crash.h"
#include "document.h"
#include "line.h"
#include "outbox.h"
#include "query.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* A line that others change each time we look is given up after so many times. */
#define MAX_CHANGES	100

/* A counter that is full stays full, and one that is not sane begins anew. */
#define MAX_LOOKS		PG_INT16_MAX
#define MAX_ATTEMPTS	1000000	/* far more than mixpeek.max_attempts may be */

/* Looks for enrichments after a document was sent: seconds from one to the next. */
static const int look_delays[] = {1, 2, 4, 15, 60, 300, 1800, 10800};

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
read_hash(TupleTableSlot *line, int column, ContentHash *hash, int offset)
{
	bytea	   *bytes;
	int			length;

	hash->known = false;
	if (line->tts_isnull[column])
		return;
	bytes = DatumGetByteaPP(line->tts_values[column]);
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
	arrays[0] = query_oid_array(relations, n);
	arrays[1] = query_text_array(collections, n);
	arrays[2] = query_text_array(keys, n);
}

/* Runs a statement whose parameters are those arrays. */
static void
run_on_keys(Statement *query, List *jobs)
{
	Datum		args[3];

	if (jobs == NIL)
		return;
	key_arrays(jobs, args);
	query_run(query, args, NULL);
	query_end();
}

/*
 * Fetch
 */

static char *
read_text(TupleTableSlot *line, int column)
{
	return line->tts_isnull[column] ? NULL : TextDatumGetCString(line->tts_values[column]);
}

static void
read_stored(Job *job, TupleTableSlot *line)
{
	MemoryContext old = MemoryContextSwitchTo(job->context);

	job->stored = true;
	job->line = line->tts_tid;
	job->document_id = read_text(line, LINE_DOCUMENT_ID);
	job->state = read_text(line, LINE_STATE);
	job->attempts = Min(Max(DatumGetInt32(line->tts_values[LINE_ATTEMPTS]), 0), MAX_ATTEMPTS);
	job->next_attempt_at = line->tts_isnull[LINE_NEXT_ATTEMPT_AT] ? 0 :
		DatumGetTimestampTz(line->tts_values[LINE_NEXT_ATTEMPT_AT]);
	job->in_doubt = DatumGetBool(line->tts_values[LINE_IN_DOUBT]);
	job->looks = Max(DatumGetInt16(line->tts_values[LINE_LOOKS]), 0);
	job->server = read_text(line, LINE_SERVER);
	job->marker = read_text(line, LINE_MARKER);
	read_hash(line, LINE_CONTENT_HASH, &job->told_content, 0);
	read_hash(line, LINE_FEATURES_HASH, &job->told_features, 0);
	read_hash(line, LINE_INTENT_HASH, &job->intent_content, 0);
	read_hash(line, LINE_INTENT_HASH, &job->intent_features, HASH_LENGTH);
	MemoryContextSwitchTo(old);
}

static TupleTableSlot *
find_line(Lines *lines, Job *job)
{
	return lines_find(lines, &job->line, job->relation, job->collection, job->key);
}

void
document_fetch(List *jobs)
{
	Lines	   *lines;
	ListCell   *lc;

	if (jobs == NIL)
		return;
	lines = lines_open();
	foreach(lc, jobs)
	{
		Job		   *job = lfirst(lc);
		TupleTableSlot *line = find_line(lines, job);

		if (line)
			read_stored(job, line);
	}
	lines_close(lines);
}

/*
 * Changing lines
 */

static int
stored_length(const ContentHash *hash)
{
	return memcmp(hash->bytes, NO_HASH.bytes, HASH_LENGTH) == 0 ? 0 : HASH_LENGTH;
}

static void
set_hash(TupleTableSlot *line, int column, const ContentHash *hash)
{
	if (hash->known)
		line_set(line, column, PointerGetDatum(make_bytea(hash->bytes, stored_length(hash))));
	else
		line_set_null(line, column);
}

static void
set_hashes(TupleTableSlot *line, int column, const ContentHash *content, const ContentHash *features)
{
	uint8		both[2 * HASH_LENGTH];

	memcpy(both, content->bytes, HASH_LENGTH);
	memcpy(both + HASH_LENGTH, features->bytes, HASH_LENGTH);
	line_set(line, column, PointerGetDatum(make_bytea(both, HASH_LENGTH + stored_length(features))));
}

static void
set_due(TupleTableSlot *line, TimestampTz due)
{
	if (due)
		line_set(line, LINE_NEXT_ATTEMPT_AT, TimestampTzGetDatum(due));
	else
		line_set_null(line, LINE_NEXT_ATTEMPT_AT);
}

typedef void (*LineChange) (const Job *job, TupleTableSlot *line);

/*
 * Changes the line of each job's key; those that are gone stay gone, and so does
 * what a trigger on the table says no to.
 */
static void
change_lines(List *jobs, LineChange change)
{
	Lines	   *lines;
	ListCell   *lc;

	if (jobs == NIL)
		return;
	lines = lines_open();
	foreach(lc, jobs)
	{
		Job		   *job = lfirst(lc);

		crash_note(job->relation);
		for (int i = 0; i < MAX_CHANGES && find_line(lines, job) != NULL; i++)
		{
			TupleTableSlot *line = lines_change(lines);
			MemoryContext old = MemoryContextSwitchTo(lines_memory(lines));

			change(job, line);
			MemoryContextSwitchTo(old);
			if (lines_update(lines))
			{
				job->line = line->tts_tid;
				break;
			}
		}
	}
	crash_note_clear();
	lines_close(lines);
}

/*
 * Intend
 */

/* A line's content is not known until an answer says so. */
static void
set_intent(const Job *job, TupleTableSlot *line)
{
	line_set_text(line, LINE_STATE, "sending");
	line_set(line, LINE_ATTEMPTS, Int32GetDatum(job->attempts));
	line_set(line, LINE_IN_DOUBT, BoolGetDatum(job->in_doubt || job_may_create(job)));
	line_set_text(line, LINE_SERVER, job->server);
	line_set_text(line, LINE_MARKER, job->marker);
	line_set_null(line, LINE_CONTENT_HASH);
	line_set_null(line, LINE_FEATURES_HASH);
	if (!job_may_create(job))
		set_hash(line, LINE_FEATURES_HASH, &job->told_features);
	line_set_null(line, LINE_INTENT_HASH);
	if (intent_is_certain(job))
		set_hashes(line, LINE_INTENT_HASH, &job->content_hash, &job->features_hash);
	line_set_null(line, LINE_NEXT_ATTEMPT_AT);
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
	Lines	   *lines;
	List	   *added = NIL;
	ListCell   *lc;
	ListCell   *lc2;
	MemoryContext old;

	if (jobs == NIL)
		return;
	lines = lines_open();
	old = MemoryContextSwitchTo(lines_memory(lines));
	foreach(lc, jobs)
	{
		const Job  *job = lfirst(lc);
		TupleTableSlot *line = lines_add(lines);

		line_set(line, LINE_RELATION, ObjectIdGetDatum(job->relation));
		line_set_text(line, LINE_COLLECTION, job->collection);
		line_set_text(line, LINE_KEY, job->key);
		line_set_text(line, LINE_DOCUMENT_ID, job->document_id);
		line_set(line, LINE_CREATED_AT, TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));
		line_set(line, LINE_LOOKS, Int16GetDatum(0));
		set_intent(job, line);
		added = lappend(added, line);
	}
	lines_insert(lines);
	forboth(lc, jobs, lc2, added)
		((Job *) lfirst(lc))->line = ((TupleTableSlot *) lfirst(lc2))->tts_tid;
	MemoryContextSwitchTo(old);
	lines_close(lines);
}

void
document_intend(List *jobs)
{
	add_lines(jobs_stored(jobs, false));
	change_lines(jobs_stored(jobs, true), set_intent);
}

/* A worker that ends before the look does looks again after a minute. */
static void
set_postponed(const Job *job, TupleTableSlot *line)
{
	set_due(line, clock_in(60000));
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
next_look(const Job *job)
{
	if (job->looks >= (int) lengthof(look_delays))
		return 0;
	return clock_in(look_delays[job->looks] * INT64CONST(1000));
}

TimestampTz
document_due(const Job *job)
{
	switch (job->outcome)
	{
		case OUTCOME_MIRRORED:
			return next_look(job);
		case OUTCOME_PENDING:
			return job->next_attempt_at;
		case OUTCOME_FAILED:	/* not before, if somebody wants it tried again */
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
set_enrichments(const Job *job, TupleTableSlot *line)
{
	bool		none_stored = line->tts_isnull[LINE_ENRICHMENTS];
	Datum		stored = line->tts_values[LINE_ENRICHMENTS];
	char	   *stored_id = read_text(line, LINE_DOCUMENT_ID);
	bool		other = job->document_id == NULL || stored_id == NULL || strcmp(job->document_id, stored_id) != 0;

	if (job->enrichments == NULL && other)
		line_set_null(line, LINE_ENRICHMENTS);
	if (job->enrichments == NULL)
		return;
	line_set(line, LINE_ENRICHMENTS, JsonbPGetDatum(job->enrichments));
	if (job->outcome == OUTCOME_MIRRORED && !job->unwritten &&
		(none_stored || !same_jsonb(job->enrichments, stored)))
		line_set_null(line, LINE_NEXT_ATTEMPT_AT);
}

static void
set_outcome(const Job *job, TupleTableSlot *line)
{
	bool		mirrored = job->outcome == OUTCOME_MIRRORED;

	set_due(line, document_due(job));
	set_enrichments(job, line);
	line_set_text(line, LINE_DOCUMENT_ID, job->document_id);
	line_set_text(line, LINE_STATE, state_name(job));
	line_set(line, LINE_ATTEMPTS, Int32GetDatum(job->attempts));
	line_set_text(line, LINE_LAST_ERROR, job->error);
	line_set(line, LINE_IN_DOUBT, BoolGetDatum(job->in_doubt));
	line_set(line, LINE_LOOKS, Int16GetDatum(mirrored ? Min(job->looks + 1, MAX_LOOKS) : job->looks));
	set_hash(line, LINE_CONTENT_HASH, &job->told_content);
	set_hash(line, LINE_FEATURES_HASH, &job->told_features);
	if (job->in_doubt && job->intent_content.known)
		set_hashes(line, LINE_INTENT_HASH, &job->intent_content, &job->intent_features);
	else
		line_set_null(line, LINE_INTENT_HASH);
	if (mirrored && !job->refresh)
		line_set(line, LINE_MIRRORED_AT, TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));
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

/* Runs a statement for its effect; returns the number of lines. */
static int64
run_command(Statement *query, Datum *args, const char *nulls)
{
	int64		n;

	query_run(query, args, nulls);
	n = SPI_processed;
	query_end();
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
	query_run(&query, args, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		AbandonedKeys *abandoned = query_palloc(sizeof(AbandonedKeys));
		bool		isnull;

		abandoned->server = query_text(SPI_tuptable->vals[i], 1);
		abandoned->owner = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
														  SPI_tuptable->tupdesc, 2, &isnull));
		abandoned->relation = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
															 SPI_tuptable->tupdesc, 3, &isnull));
		result = query_lappend(result, abandoned);
	}
	query_end();
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
	args[2] = TimestampTzGetDatum(clock_in(look_delays[lengthof(look_delays) - 1] * INT64CONST(1000)));
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
	query_run(&query, args, NULL);
	n = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull);
	last = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
		*position = DatumGetTimestampTz(last);
	query_end();
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
	query_run(&query, args, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	line = SPI_tuptable->vals[i];
		DueKey	   *due = query_palloc(sizeof(DueKey));
		bool		isnull;

		due->relation = DatumGetObjectId(SPI_getbinval(line, SPI_tuptable->tupdesc, 1, &isnull));
		due->collection = query_text(line, 2);
		due->key = query_text(line, 3);
		due->due = DatumGetTimestampTz(SPI_getbinval(line, SPI_tuptable->tupdesc, 4, &isnull));
		keys = query_lappend(keys, due);
	}
	query_end();
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
	query_run(&query, args, NULL);
	datum = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
		due = DatumGetTimestampTz(datum);
	query_end();
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
	query_run(after ? &query : &first_query, args, after ? NULL : "  n ");
	for (uint64 i = 0; i < SPI_processed; i++)
		keys = query_lappend(keys, query_text(SPI_tuptable->vals[i], 1));
	query_end();
	return keys;
}

void
document_forget(Oid relation, const char *collection)
{
	static Statement query = {
		"WITH d AS (DELETE FROM mixpeek.documents WHERE relation = $1 AND ($2 IS NULL OR collection = $2)"
		"  RETURNING marker, key, collection, document_id, in_doubt)"
		" INSERT INTO mixpeek.forgotten (marker_prefix, collection)"
		" SELECT DISTINCT left(marker, length(marker) - length(key)), collection FROM d"
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
	query_run(&query, args, NULL);
	found = SPI_processed > 0;
	query_end();
	return found;
}

/* Runs a statement that puts entries into the outbox, and returns their number. */
static int64
put_entries(Statement *query, Datum *args, const char *nulls)
{
	bool		isnull;
	int64		n;

	query_run(query, args, nulls);
	n = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	if (n > 0)
	{
		Datum		first = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull);
		Datum		last = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull);

		outbox_note_written((ItemPointer) DatumGetPointer(first), (ItemPointer) DatumGetPointer(last));
	}
	query_end();
	return n;
}

/*
 * Both mark keys by entries in the outbox: a line that the caller's transaction
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
		" AND key !~ '\\.\\.\\. \\(\\d+ bytes, hash [0-9a-f]{16}\\)$'"	/* see storable_key() */
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
