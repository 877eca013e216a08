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
#include "document.h"
#include "query.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* Looks for enrichments after a document was sent: seconds from one to the next. */
static const int look_delays[] = {1, 2, 4, 15, 60, 300, 1800, 10800};

/*
 * Columns of a batch as arrays, job by job.
 */

typedef struct Batch
{
	int			n;
	Job	  **jobs;
	Datum	   *datums;
	bool	   *nulls;
} Batch;

static void
batch_init(Batch *batch, List *jobs)
{
	ListCell   *lc;

	batch->n = 0;
	batch->jobs = palloc(sizeof(Job *) * list_length(jobs));
	batch->datums = palloc(sizeof(Datum) * list_length(jobs));
	batch->nulls = palloc(sizeof(bool) * list_length(jobs));
	foreach(lc, jobs)
		batch->jobs[batch->n++] = lfirst(lc);
}

static Datum
batch_array(Batch *batch, Oid type, int len, bool byval, char align)
{
	int			dims[1];
	int			lbs[1] = {1};

	dims[0] = batch->n;
	return PointerGetDatum(construct_md_array(batch->datums, batch->nulls, 1, dims, lbs,
											  type, len, byval, align));
}

/* An array of what "expression" is for each job; null where "isnull" holds. */
#define BATCH_ARRAY(batch, isnull_expression, expression, type, len, byval, align) \
	do { \
		for (int i_ = 0; i_ < (batch)->n; i_++) \
		{ \
			Job *job = (batch)->jobs[i_]; \
			(batch)->nulls[i_] = (isnull_expression); \
			(batch)->datums[i_] = (batch)->nulls[i_] ? (Datum) 0 : (expression); \
		} \
		*args++ = batch_array(batch, type, len, byval, align); \
	} while (0)

#define TEXTS(batch, s)		BATCH_ARRAY(batch, (s) == NULL, CStringGetTextDatum(s), TEXTOID, -1, false, TYPALIGN_INT)
#define OIDS(batch, o)		BATCH_ARRAY(batch, false, ObjectIdGetDatum(o), OIDOID, sizeof(Oid), true, TYPALIGN_INT)
#define INTS(batch, i)		BATCH_ARRAY(batch, false, Int32GetDatum(i), INT4OID, 4, true, TYPALIGN_INT)
#define BOOLS(batch, b)		BATCH_ARRAY(batch, false, BoolGetDatum(b), BOOLOID, 1, true, TYPALIGN_CHAR)
#define TIMES(batch, t)		BATCH_ARRAY(batch, (t) == 0, TimestampTzGetDatum(t), TIMESTAMPTZOID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE)
#define JSONBS(batch, j)	BATCH_ARRAY(batch, (j) == NULL, JsonbPGetDatum(j), JSONBOID, -1, false, TYPALIGN_INT)
#define BYTEAS(batch, isnull, b) BATCH_ARRAY(batch, isnull, PointerGetDatum(b), BYTEAOID, -1, false, TYPALIGN_INT)

static bytea *
make_bytea(const uint8 *bytes, int len)
{
	bytea	   *result = palloc(VARHDRSZ + len);

	SET_VARSIZE(result, VARHDRSZ + len);
	memcpy(VARDATA(result), bytes, len);
	return result;
}

static bytea *
hash_bytea(const ContentHash *hash)
{
	return make_bytea(hash->bytes, HASH_LENGTH);
}

static bytea *
two_hashes_bytea(const ContentHash *content, const ContentHash *features)
{
	uint8		both[2 * HASH_LENGTH];

	memcpy(both, content->bytes, HASH_LENGTH);
	memcpy(both + HASH_LENGTH, features->bytes, HASH_LENGTH);
	return make_bytea(both, sizeof(both));
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

static void
read_hash(ContentHash *hash, const bytea *bytes, int offset)
{
	hash->known = bytes && VARSIZE_ANY_EXHDR(bytes) >= offset + HASH_LENGTH;
	if (hash->known)
		memcpy(hash->bytes, VARDATA_ANY(bytes) + offset, HASH_LENGTH);
}

/* Runs a statement whose parameters are the arrays of the jobs' keys. */
static void
run_on_keys(Statement *query, List *jobs)
{
	Datum		values[3];
	Datum	   *args = values;
	Batch		batch;

	if (jobs == NIL)
		return;
	batch_init(&batch, jobs);
	OIDS(&batch, job->relation);
	TEXTS(&batch, job->collection);
	TEXTS(&batch, job->key);
	query_run(query, values, NULL);
	query_end();
}

/*
 * Fetch
 */

static void
read_stored(Job *job, HeapTuple tuple)
{
	TupleDesc	desc = SPI_tuptable->tupdesc;
	MemoryContext old = MemoryContextSwitchTo(job->context);
	bytea	   *intent;
	bool		isnull;
	Datum		datum;

	job->stored = true;
	job->document_id = SPI_getvalue(tuple, desc, 2);
	job->state = SPI_getvalue(tuple, desc, 3);
	job->attempts = DatumGetInt32(SPI_getbinval(tuple, desc, 4, &isnull));
	datum = SPI_getbinval(tuple, desc, 5, &isnull);
	job->next_attempt_at = isnull ? 0 : DatumGetTimestampTz(datum);
	job->in_doubt = DatumGetBool(SPI_getbinval(tuple, desc, 6, &isnull));
	job->looks = DatumGetInt16(SPI_getbinval(tuple, desc, 7, &isnull));
	job->server = SPI_getvalue(tuple, desc, 8);
	job->marker = SPI_getvalue(tuple, desc, 9);
	read_hash(&job->told_content, query_bytea(tuple, 10), 0);
	read_hash(&job->told_features, query_bytea(tuple, 11), 0);
	intent = query_bytea(tuple, 12);
	read_hash(&job->intent_content, intent, 0);
	read_hash(&job->intent_features, intent, HASH_LENGTH);
	MemoryContextSwitchTo(old);
}

void
document_fetch(List *jobs)
{
	static Statement query = {
		"SELECT k.n, d.document_id, d.state, d.attempts, d.next_attempt_at, d.in_doubt, d.looks,"
		" d.server, d.marker, d.content_hash, d.features_hash, d.intent_hash"
		" FROM ROWS FROM (unnest($1), unnest($2), unnest($3)) WITH ORDINALITY AS k (r, c, k, n)"
		" JOIN mixpeek.documents d ON d.relation = k.r AND d.collection = k.c AND d.key = k.k",
		3, {OIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID}
	};
	Datum		values[3];
	Datum	   *args = values;
	Batch		batch;

	if (jobs == NIL)
		return;
	batch_init(&batch, jobs);
	OIDS(&batch, job->relation);
	TEXTS(&batch, job->collection);
	TEXTS(&batch, job->key);
	query_run(&query, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		int64		n = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));

		read_stored(batch.jobs[n - 1], SPI_tuptable->vals[i]);
	}
	query_end();
}

/*
 * Intend
 */

/*
 * The parameters of both statements: keys, then what is recorded.  A line's
 * content is not known until an answer says so.
 */
#define INTENT_ARGS \
	10, {OIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID, \
		BOOLARRAYOID, TEXTARRAYOID, TEXTARRAYOID, BYTEAARRAYOID, BYTEAARRAYOID}
#define INTENT_ROWS \
	" ROWS FROM (unnest($1), unnest($2), unnest($3), unnest($4), unnest($5), unnest($6)," \
	" unnest($7), unnest($8), unnest($9), unnest($10)) AS u (r, c, k, i, a, x, s, m, f, h)"

static void
run_intent(Statement *query, List *jobs)
{
	Datum		values[10];
	Datum	   *args = values;
	Batch		batch;

	if (jobs == NIL)
		return;
	batch_init(&batch, jobs);
	OIDS(&batch, job->relation);
	TEXTS(&batch, job->collection);
	TEXTS(&batch, job->key);
	TEXTS(&batch, job->document_id);
	INTS(&batch, job->attempts);
	BOOLS(&batch, job->in_doubt || job_may_create(job));
	TEXTS(&batch, job->server);
	TEXTS(&batch, job->marker);
	BYTEAS(&batch, !job->told_features.known || job_may_create(job), hash_bytea(&job->told_features));
	BYTEAS(&batch, !intent_is_certain(job), two_hashes_bytea(&job->content_hash, &job->features_hash));
	query_run(query, values, NULL);
	query_end();
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

void
document_intend(List *jobs)
{
	static Statement insert = {
		"INSERT INTO mixpeek.documents (relation, collection, key, document_id, state, attempts,"
		" in_doubt, server, marker, features_hash, intent_hash)"
		" SELECT r, c, k, i, 'sending', a, x, s, m, f, h FROM" INTENT_ROWS,
		INTENT_ARGS
	};
	static Statement update = {
		"UPDATE mixpeek.documents d SET state = 'sending', attempts = a, in_doubt = x, server = s,"
		" marker = m, content_hash = NULL, features_hash = f, intent_hash = h, next_attempt_at = NULL"
		" FROM" INTENT_ROWS " WHERE d.relation = r AND d.collection = c AND d.key = k",
		INTENT_ARGS
	};

	run_intent(&insert, jobs_stored(jobs, false));
	run_intent(&update, jobs_stored(jobs, true));
}

/* A worker that ends before the look does looks again after a minute. */
void
document_postpone(List *jobs)
{
	static Statement query = {
		"UPDATE mixpeek.documents d SET next_attempt_at = clock_timestamp() + interval '1 minute'"
		" FROM ROWS FROM (unnest($1), unnest($2), unnest($3)) AS u (r, c, k)"
		" WHERE d.relation = u.r AND d.collection = u.c AND d.key = u.k",
		3, {OIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID}
	};

	run_on_keys(&query, jobs);
}

/*
 * Settle
 */

static TimestampTz
next_look(const Job *job)
{
	if (job->looks >= (int) lengthof(look_delays))
		return 0;
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), look_delays[job->looks] * INT64CONST(1000));
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

/* Enrichments that differ from those stored end the looks for more. */
static void
store_outcomes(List *jobs)
{
	static Statement query = {
		"UPDATE mixpeek.documents d SET document_id = u.i, state = u.st, attempts = u.a,"
		" next_attempt_at = CASE WHEN u.st = 'mirrored' AND u.e IS NOT NULL"
		"   AND u.e IS DISTINCT FROM d.enrichments AND NOT u.w THEN NULL ELSE u.t END,"
		" last_error = u.er, in_doubt = u.x, looks = u.l, content_hash = u.ch, features_hash = u.fh,"
		" intent_hash = u.ih, enrichments = coalesce(u.e, CASE WHEN u.i = d.document_id THEN d.enrichments END),"
		" mirrored_at = CASE WHEN u.ok THEN now() ELSE d.mirrored_at END"
		" FROM ROWS FROM (unnest($1), unnest($2), unnest($3), unnest($4), unnest($5), unnest($6), unnest($7),"
		" unnest($8), unnest($9), unnest($10), unnest($11), unnest($12), unnest($13), unnest($14), unnest($15),"
		" unnest($16)) AS u (r, c, k, i, st, a, t, er, x, l, ch, fh, ih, e, ok, w)"
		" WHERE d.relation = u.r AND d.collection = u.c AND d.key = u.k",
		16, {OIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID,
			TIMESTAMPTZARRAYOID, TEXTARRAYOID, BOOLARRAYOID, INT4ARRAYOID, BYTEAARRAYOID,
			BYTEAARRAYOID, BYTEAARRAYOID, JSONBARRAYOID, BOOLARRAYOID, BOOLARRAYOID}
	};
	Datum		values[16];
	Datum	   *args = values;
	Batch		batch;

	if (jobs == NIL)
		return;
	batch_init(&batch, jobs);
	OIDS(&batch, job->relation);
	TEXTS(&batch, job->collection);
	TEXTS(&batch, job->key);
	TEXTS(&batch, job->document_id);
	TEXTS(&batch, state_name(job));
	INTS(&batch, job->attempts);
	TIMES(&batch, document_due(job));
	TEXTS(&batch, job->error);
	BOOLS(&batch, job->in_doubt);
	INTS(&batch, job->outcome == OUTCOME_MIRRORED ? job->looks + 1 : job->looks);
	BYTEAS(&batch, !job->told_content.known, hash_bytea(&job->told_content));
	BYTEAS(&batch, !job->told_features.known, hash_bytea(&job->told_features));
	BYTEAS(&batch, !(job->in_doubt && job->intent_content.known),
		   two_hashes_bytea(&job->intent_content, &job->intent_features));
	JSONBS(&batch, job->enrichments);
	BOOLS(&batch, job->outcome == OUTCOME_MIRRORED && !job->refresh);
	BOOLS(&batch, job->write_back_missed);
	query_run(&query, values, NULL);
	query_end();
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
	store_outcomes(with_outcome(jobs, false));
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

List *
document_abandoned(void)
{
	static Statement query = {
		"SELECT DISTINCT d.server::text, coalesce(c.relowner, 0), d.relation::oid FROM mixpeek.documents d"
		" LEFT JOIN pg_catalog.pg_class c ON c.oid = d.relation WHERE d.state = 'sending'", 0, {0}
	};
	List	   *result = NIL;

	query_run(&query, NULL, NULL);
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
		"UPDATE mixpeek.documents SET state = 'pending',"
		" next_attempt_at = clock_timestamp() + $1 * interval '1 millisecond',"
		" last_error = 'the worker ended before the answer came' WHERE state = 'sending'"
		" AND server::text = $2 AND relation = $3",
		3, {INT4OID, TEXTOID, OIDOID}
	};
	Datum		args[3];

	args[0] = Int32GetDatum(rest);
	args[1] = CStringGetTextDatum(abandoned->server);
	args[2] = ObjectIdGetDatum(abandoned->relation);
	run_command(&query, args, NULL);
}

void
document_hurry(const char *server, Oid owner)
{
	static Statement query = {
		"UPDATE mixpeek.documents d SET next_attempt_at = clock_timestamp() FROM pg_catalog.pg_class c"
		" WHERE d.next_attempt_at > clock_timestamp() AND d.state = 'pending' AND NOT d.in_doubt"
		" AND d.server::text = $1 AND c.oid = d.relation AND c.relowner = $2",
		2, {TEXTOID, OIDOID}
	};
	Datum		args[2];

	args[0] = CStringGetTextDatum(server);
	args[1] = ObjectIdGetDatum(owner);
	run_command(&query, args, NULL);
}

struct Unfinished
{
	bool		any;
	Datum		columns[4];		/* arrays: relation, collection, key, mirrored_at */
};

Unfinished *
document_unfinished(void)
{
	static Statement query = {
		"SELECT array_agg(relation::oid), array_agg(collection), array_agg(key), array_agg(mirrored_at)"
		" FROM mixpeek.documents WHERE state IN ('pending', 'sending')", 0, {0}
	};
	Unfinished *unfinished = palloc0(sizeof(Unfinished));
	MemoryContext old = CurrentMemoryContext;

	query_run(&query, NULL, NULL);
	for (int i = 0; i < 4; i++)
	{
		bool		isnull;
		Datum		datum = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &isnull);
		MemoryContext spi = MemoryContextSwitchTo(old);

		unfinished->any = !isnull;
		if (!isnull)
			unfinished->columns[i] = PointerGetDatum(PG_DETOAST_DATUM_COPY(datum));
		MemoryContextSwitchTo(spi);
	}
	query_end();
	return unfinished;
}

bool
document_all_finished(const Unfinished *unfinished)
{
	static Statement query = {
		"SELECT 1 FROM ROWS FROM (unnest($1), unnest($2), unnest($3), unnest($4)) AS u (r, c, k, m)"
		" JOIN mixpeek.documents d ON d.relation = u.r AND d.collection = u.c AND d.key = u.k"
		" WHERE d.state IN ('pending', 'sending') AND d.mirrored_at IS NOT DISTINCT FROM u.m LIMIT 1",
		4, {OIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID}
	};
	Datum		args[4];

	if (!unfinished->any)
		return true;
	memcpy(args, unfinished->columns, sizeof(args));
	return run_command(&query, args, NULL) == 0;
}

List *
document_read_due(int limit, int nexcept, const Oid *relations, char *const *collections)
{
	static Statement query = {
		"SELECT relation, collection, key FROM mixpeek.documents"
		" WHERE next_attempt_at <= clock_timestamp() AND (relation::oid, collection) NOT IN"
		" (SELECT * FROM unnest($1, $2)) ORDER BY next_attempt_at LIMIT $3",
		3, {OIDARRAYOID, TEXTARRAYOID, INT8OID}
	};
	Datum		args[3];
	List	   *keys = NIL;

	args[0] = query_oid_array(relations, nexcept);
	args[1] = query_text_array(collections, nexcept);
	args[2] = Int64GetDatum(limit);
	query_run(&query, args, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		DueKey	   *due = query_palloc(sizeof(DueKey));
		bool		isnull;

		due->relation = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
													   SPI_tuptable->tupdesc, 1, &isnull));
		due->collection = query_text(SPI_tuptable->vals[i], 2);
		due->key = query_text(SPI_tuptable->vals[i], 3);
		keys = query_lappend(keys, due);
	}
	query_end();
	return keys;
}

TimestampTz
document_next_due(void)
{
	static Statement query = {
		"SELECT min(next_attempt_at) FROM mixpeek.documents WHERE next_attempt_at > clock_timestamp()", 0, {0}
	};
	TimestampTz due = 0;
	Datum		datum;
	bool		isnull;

	query_run(&query, NULL, NULL);
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

List *
document_collections(Oid relation)
{
	static Statement query = {
		"SELECT collection FROM mixpeek.documents WHERE relation = $1"
		" UNION SELECT collection FROM mixpeek.outbox WHERE relation = $1",
		1, {OIDOID}
	};
	Datum		args[1];
	List	   *collections = NIL;

	args[0] = ObjectIdGetDatum(relation);
	query_run(&query, args, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
		collections = query_lappend(collections, query_text(SPI_tuptable->vals[i], 1));
	query_end();
	return collections;
}

int64
document_forget(Oid relation, const char *collection)
{
	static Statement query = {
		"WITH o AS (DELETE FROM mixpeek.outbox WHERE relation = $1 AND ($2 IS NULL OR collection = $2))"
		" DELETE FROM mixpeek.documents WHERE relation = $1 AND ($2 IS NULL OR collection = $2)",
		2, {OIDOID, TEXTOID}
	};
	Datum		args[2];

	args[0] = ObjectIdGetDatum(relation);
	args[1] = collection ? CStringGetTextDatum(collection) : (Datum) 0;
	return run_command(&query, args, collection ? "  " : " n");
}

/*
 * Both mark keys by entries in the outbox: a line that the caller's transaction
 * had changed would make the worker wait for it.
 */
int64
document_retry(Oid relation, const char *collection, const char *error)
{
	static Statement query = {
		"INSERT INTO mixpeek.outbox (relation, operation, collection, key)"
		" SELECT relation, 'K', collection, key FROM mixpeek.documents"
		" WHERE relation = $1 AND state = 'failed' AND ($2 IS NULL OR collection = $2)"
		" AND ($3 IS NULL OR last_error LIKE $3)",
		3, {OIDOID, TEXTOID, TEXTOID}
	};
	Datum		args[3];
	char		nulls[4] = "   ";

	args[0] = ObjectIdGetDatum(relation);
	args[1] = collection ? CStringGetTextDatum(collection) : (Datum) 0;
	args[2] = error ? CStringGetTextDatum(error) : (Datum) 0;
	nulls[1] = collection ? ' ' : 'n';
	nulls[2] = error ? ' ' : 'n';
	return run_command(&query, args, nulls);
}

int64
document_refresh(Oid relation, const char *collection)
{
	static Statement query = {
		"INSERT INTO mixpeek.outbox (relation, operation, collection, key)"
		" SELECT relation, 'R', collection, key FROM mixpeek.documents"
		" WHERE relation = $1 AND state = 'mirrored' AND ($2 IS NULL OR collection = $2)",
		2, {OIDOID, TEXTOID}
	};
	Datum		args[2];

	args[0] = ObjectIdGetDatum(relation);
	args[1] = collection ? CStringGetTextDatum(collection) : (Datum) 0;
	return run_command(&query, args, collection ? "  " : " n");
}
