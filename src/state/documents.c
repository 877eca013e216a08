/*-------------------------------------------------------------------------
 *
 * documents.c
 *		mixpeek.documents: the stored state of jobs' keys.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xact.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/json.h"
#include "base/statement.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "state/document_table.h"
#include "state/documents.h"
#include "state/field_list.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* How often to retry the update of a record that other transactions keep changing. */
#define MAX_CHANGES	100

/* Upper bounds of the stored counters. */
#define MAX_POLLS		PG_INT16_MAX
#define MAX_ATTEMPTS	1000000 /* far more than mixpeek.max_attempts may be */

/* Seconds before each poll for enrichments, the first one after the document was sent. */
static const int poll_delays[] = {1, 2, 4, 15, 60, 300, 1800, 10800};

/* Milliseconds until a document whose poll is under way is polled again. */
#define POSTPONE_DELAY	60000

static bytea *
make_bytea(const uint8 *bytes, int len)
{
	bytea	   *result = palloc(VARHDRSZ + len);

	SET_VARSIZE(result, VARHDRSZ + len);
	memcpy(VARDATA(result), bytes, len);
	return result;
}

/*
 * Check whether the content of a document that is found later by its marker is known.  While an
 * earlier create is in doubt, the document may be of either create, so both must have the same
 * content.
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

/* Read a hash from a bytea column, from offset on.  If nothing is there, the hash is NO_HASH. */
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

/* Make three arrays of the jobs' keys, as parameters of a statement. */
static void
make_key_arrays(List *jobs, Datum *arrays)
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

/*
 * Fetch
 */

static char *
read_text(TupleTableSlot *record, DocumentColumn column)
{
	return record->tts_isnull[column] ? NULL : TextDatumGetCString(record->tts_values[column]);
}

/* Return the names in metadata that the API has added, in UTF-8. */
static List *
read_added_names(Jsonb *enrichments)
{
	JsonbContainer *metadata = json_member_container(&enrichments->root, "metadata");
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	List	   *names = NIL;

	if (metadata == NULL || !JsonContainerIsObject(metadata))
		return NIL;
	iterator = JsonbIteratorInit(metadata);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			names = lappend(names, pg_server_to_any(pnstrdup(value.val.string.val, value.val.string.len),
													value.val.string.len, PG_UTF8));
	}
	return names;
}

static void
read_stored(Job *job, TupleTableSlot *record)
{
	MemoryContext old = MemoryContextSwitchTo(job->context);

	job->stored = true;
	job->record_tid = record->tts_tid;
	job->document_id = read_text(record, DOCUMENT_DOCUMENT_ID);
	job->replaced_id = read_text(record, DOCUMENT_REPLACED_ID);
	if (job->dirty && !record->tts_isnull[DOCUMENT_ENRICHMENTS])
		job->added_names = read_added_names(DatumGetJsonbP(record->tts_values[DOCUMENT_ENRICHMENTS]));
	if (!record->tts_isnull[DOCUMENT_FIELDS])
		job->fields = field_list_of_array(record->tts_values[DOCUMENT_FIELDS]);
	job->state = read_text(record, DOCUMENT_STATE);
	job->attempts = Min(Max(DatumGetInt32(record->tts_values[DOCUMENT_ATTEMPTS]), 0), MAX_ATTEMPTS);
	job->next_attempt_at = record->tts_isnull[DOCUMENT_NEXT_ATTEMPT_AT] ? 0 :
		DatumGetTimestampTz(record->tts_values[DOCUMENT_NEXT_ATTEMPT_AT]);
	job->in_doubt = DatumGetBool(record->tts_values[DOCUMENT_IN_DOUBT]);
	job->polls = Max(DatumGetInt16(record->tts_values[DOCUMENT_ENRICHMENT_POLLS]), 0);
	job->none = record->tts_isnull[DOCUMENT_ENRICHMENTS_CURRENT] ||
		!DatumGetBool(record->tts_values[DOCUMENT_ENRICHMENTS_CURRENT]);
	job->server = read_text(record, DOCUMENT_SERVER);
	job->marker = read_text(record, DOCUMENT_MARKER);
	job->place_known = !record->tts_isnull[DOCUMENT_PLACE];
	if (job->place_known)
		job->place = DatumGetInt64(record->tts_values[DOCUMENT_PLACE]);
	read_hash(record, DOCUMENT_CONTENT_HASH, &job->sent_content, 0);
	read_hash(record, DOCUMENT_FEATURES_HASH, &job->sent_features, 0);
	read_hash(record, DOCUMENT_INTENT_HASH, &job->intent_content, 0);
	read_hash(record, DOCUMENT_INTENT_HASH, &job->intent_features, HASH_LENGTH);
	MemoryContextSwitchTo(old);
}

static TupleTableSlot *
find_record(DocumentTable *table, Job *job)
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
		TupleTableSlot *record = find_record(table, job);

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
set_fields(TupleTableSlot *record, const List *fields)
{
	if (fields != NIL)
		record_set(record, DOCUMENT_FIELDS, field_list_to_array(fields));
	else
		record_set_null(record, DOCUMENT_FIELDS);
}

static void
set_due(TupleTableSlot *record, TimestampTz due)
{
	if (due)
		record_set(record, DOCUMENT_NEXT_ATTEMPT_AT, TimestampTzGetDatum(due));
	else
		record_set_null(record, DOCUMENT_NEXT_ATTEMPT_AT);
}

/* Set the columns of a job's record. */
typedef void (*RecordChange) (const Job *job, TupleTableSlot *record);

/* Change the record of each job's key.  Records that do not exist any more are left out. */
static void
change_records(List *jobs, RecordChange change)
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
		for (int i = 0; i < MAX_CHANGES && find_record(table, job) != NULL; i++)
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

/*
 * Record the intent.  The content is unknown until an answer confirms it, unless the known document
 * stays as it is, because the first request is the create of its successor.  Its features never change.
 */
static void
set_intent(const Job *job, TupleTableSlot *record)
{
	bool		stays = !job->must_look_up && job->replaced_id == NULL && job_must_replace(job);

	record_set_text(record, DOCUMENT_STATE, "sending");
	record_set(record, DOCUMENT_ATTEMPTS, Int32GetDatum(job->attempts));
	record_set(record, DOCUMENT_IN_DOUBT, BoolGetDatum(job->in_doubt || job_may_create(job)));
	record_set_text(record, DOCUMENT_SERVER, job->server);
	record_set_text(record, DOCUMENT_MARKER, job->marker);
	if (job->place_known)
		record_set(record, DOCUMENT_PLACE, Int64GetDatum(job->place));
	record_set_null(record, DOCUMENT_CONTENT_HASH);
	if (stays)
		set_hash(record, DOCUMENT_CONTENT_HASH, &job->sent_content);
	set_hash(record, DOCUMENT_FEATURES_HASH, &job->sent_features);
	set_fields(record, job_possible_fields(job));
	record_set_null(record, DOCUMENT_INTENT_HASH);
	if (intent_is_certain(job))
		set_hashes(record, DOCUMENT_INTENT_HASH, &job->content_hash, &job->features_hash);
	record_set_null(record, DOCUMENT_NEXT_ATTEMPT_AT);
}

/* Return those of the jobs whose keys have, or do not have, a record. */
static List *
select_stored(List *jobs, bool stored)
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
add_records(List *jobs)
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
	add_records(select_stored(jobs, false));
	change_records(select_stored(jobs, true), set_intent);
}

/* Set the time at which a document is polled again if the worker ends before the answer. */
static void
set_postponed(const Job *job, TupleTableSlot *record)
{
	set_due(record, clock_in(POSTPONE_DELAY));
}

void
document_postpone(List *jobs)
{
	change_records(jobs, set_postponed);
}

/*
 * Settle
 */

int
document_longest_poll_delay(void)
{
	return poll_delays[lengthof(poll_delays) - 1];
}

static TimestampTz
next_poll_time(const Job *job)
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
			return next_poll_time(job);
		case OUTCOME_PENDING:
			return job->next_attempt_at;
		case OUTCOME_FAILED:	/* a retry() waits until then */
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

/* Return those of the jobs whose outcome is, or is not, OUTCOME_FORGOTTEN. */
static List *
select_forgotten(List *jobs, bool forgotten)
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
is_same_jsonb(const Jsonb *a, Datum b)
{
	return compareJsonbContainers((JsonbContainer *) &a->root, &DatumGetJsonbP(b)->root) == 0;
}

bool
document_drops_enrichments(const Job *job)
{
	return job->outcome == OUTCOME_MIRRORED && job->enrichments == NULL && job->none && next_poll_time(job) == 0;
}

/*
 * Store the answer's enrichments.  If they differ from the stored ones the polls end, unless they
 * still have to be written to the row's columns.  If the answer has none, the stored ones are no
 * longer current, but are kept until the polls are over: the API may not have come to enrich the
 * document's present content yet.
 */
static void
set_enrichments(const Job *job, TupleTableSlot *record)
{
	bool		none_stored = record->tts_isnull[DOCUMENT_ENRICHMENTS];
	Datum		stored = record->tts_values[DOCUMENT_ENRICHMENTS];

	if (job->enrichments)
	{
		record_set(record, DOCUMENT_ENRICHMENTS, JsonbPGetDatum(job->enrichments));
		record_set(record, DOCUMENT_ENRICHMENTS_CURRENT, BoolGetDatum(true));
		if (job->outcome == OUTCOME_MIRRORED && !job->unwritten &&
			(none_stored || !is_same_jsonb(job->enrichments, stored)))
			record_set_null(record, DOCUMENT_NEXT_ATTEMPT_AT);
	}
	else if (job->document_id == NULL || document_drops_enrichments(job))
	{
		record_set_null(record, DOCUMENT_ENRICHMENTS);
		record_set_null(record, DOCUMENT_ENRICHMENTS_CURRENT);
	}
	else if (!none_stored && job->none)
		record_set(record, DOCUMENT_ENRICHMENTS_CURRENT, BoolGetDatum(false));
}

static void
set_outcome(const Job *job, TupleTableSlot *record)
{
	bool		mirrored = job->outcome == OUTCOME_MIRRORED;

	set_due(record, document_due(job));
	set_enrichments(job, record);
	record_set_text(record, DOCUMENT_DOCUMENT_ID, job->document_id);
	record_set_text(record, DOCUMENT_REPLACED_ID, job->replaced_id);
	set_fields(record, job->fields);
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

/* Delete the records of keys that have neither a row nor a document any more. */
static void
delete_records(List *jobs)
{
	static Statement query = {
		"DELETE FROM mixpeek.documents d USING ROWS FROM (unnest($1), unnest($2), unnest($3))"
		" AS u (r, c, k) WHERE d.relation = u.r AND d.collection = u.c AND d.key = u.k",
		3, {OIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID}
	};
	Datum		args[3];

	if (jobs == NIL)
		return;
	make_key_arrays(jobs, args);
	(void) statement_execute(&query, args, NULL);
}

void
document_settle(List *jobs)
{
	change_records(select_forgotten(jobs, false), set_outcome);
	delete_records(select_forgotten(jobs, true));
}
