/*-------------------------------------------------------------------------
 *
 * decision.c
 *		A prepared job's first decision: what it must send, or that it has ended.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/htup_details.h"
#include "base/clock.h"
#include "base/guard.h"
#include "base/settings.h"
#include "catalog/pg_class.h"
#include "foreign/foreign.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "mirror/key.h"
#include "remote/marker.h"
#include "remote/url.h"
#include "state/outbox.h"
#include "state/owed.h"
#include "state/places.h"
#include "state/field_list.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "worker/claim.h"
#include "worker/decision.h"
#include "worker/delegate.h"
#include "worker/server_check.h"
#include "worker/worker.h"

/*
 * Parts of requests
 */

/* Return a text in UTF-8, in the job's memory. */
static char *
convert_to_utf8(Job *job, const char *text, int len, int *utf8_len)
{
	char	   *utf8 = pg_server_to_any(text, len, PG_UTF8);

	if (GetDatabaseEncoding() == PG_SQL_ASCII)
		(void) pg_verify_mbstr(PG_UTF8, text, len, false);
	*utf8_len = utf8 == text ? len : strlen(utf8);
	return memcpy(MemoryContextAlloc(job->context, *utf8_len + 1), utf8, *utf8_len + 1);
}

/* Make the parts of requests.  Raises an error if a text cannot be converted to UTF-8. */
static void
convert_request_parts(void *arg)
{
	Job		   *job = arg;
	MemoryContext old = MemoryContextSwitchTo(job->context);
	StringInfoData buf;
	int			len;

	initStringInfo(&buf);
	url_append_documents(&buf, convert_to_utf8(job, job->collection, strlen(job->collection), &len));
	job->path = buf.data;
	initStringInfo(&buf);
	escape_json(&buf, job->collection);
	job->collection_json = convert_to_utf8(job, buf.data, buf.len, &len);
	resetStringInfo(&buf);
	escape_json(&buf, job->marker);
	job->marker_json = convert_to_utf8(job, buf.data, buf.len, &len);
	MemoryContextSwitchTo(old);
}

/*
 * Make the parts of a job's requests; a text that is not valid in its encoding is the job's error.
 */
static void
make_request_parts(Job *job)
{
	MemoryContext old = MemoryContextSwitchTo(job->context);
	char	   *problem = NULL;

	if (job->marker == NULL)
		job->marker = marker_of_key(job->mirror->marker_prefix, job->key);
	if (job->server == NULL || job->mirror)
		job->server = pstrdup(job->account->name);
	MemoryContextSwitchTo(old);
	if (GetDatabaseEncoding() == PG_UTF8)
		convert_request_parts(job);
	else
		problem = guard_call(convert_request_parts, job);
	if (problem && job->error == NULL)
		job->error = MemoryContextStrdup(job->context, problem);
}

/*
 * What is known
 */

/*
 * Find the account of a job that has no mirror any more, to delete its document: the record
 * names the server, and the table's owner has the key.  An owed delete has its account already.
 */
static void
find_old_account(Worker *worker, Job *job)
{
	HeapTuple	tuple;
	Oid			owner;

	if (!job->stored || owed_has_job(job))
		return;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(job->relation));
	if (!HeapTupleIsValid(tuple))
		return;
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	job->account = mirror_cache_account(worker->cache,
										server_check_choose(worker, job->server, job->place_known, job->place, owner),
										owner);
	job->account->claimed++;
	job->claims = true;
	ReleaseSysCache(tuple);
}

/* Check whether the key is already scheduled for a later attempt. */
static bool
is_not_due(const Job *job)
{
	return job->stored && strcmp(job->state, "pending") == 0 &&
		job->next_attempt_at > clock_now();
}

/* Check whether the record does not belong to this database's origin. */
static bool
is_of_other_origin(const Worker *worker, const Job *job)
{
	return job->stored && job->marker && worker->origin.id && !marker_is_ours(job->marker, worker->origin.id);
}

/*
 * Check whether the record belongs to another database: a restore may have brought it here and left
 * that origin behind.
 */
static bool
is_foreign(const Worker *worker, const Job *job)
{
	return is_of_other_origin(worker, job) && !origin_check_was_ours(worker, job->marker);
}

/* Check whether a request that was given up for good may still be at work on the other side. */
static bool
must_rest(const Job *job)
{
	return job->stored && strcmp(job->state, "failed") == 0 &&
		job->next_attempt_at > clock_now();
}

/* Check whether it is not known for certain if the key has a document. */
static bool
must_look_up(const Job *job)
{
	if (job->refresh)
		return true;
	if (WEAKENED(WEAKEN_LOOK_UP) || job->inventory)
		return false;
	if (job->in_doubt)
		return true;

	/*
	 * if the last attempt's end is not known, it may have created a document
	 * in place of one that was gone
	 */
	if (job->document_id)
		return job_must_replace(job) && !job->sent_content.known;
	return job->stored || !job->inserted || job->mirror->forgotten;
}

/*
 * Places
 */

bool
decision_is_elsewhere(const Job *job)
{
	return job->stored && job->place_known && job->account->server && job->place != job->account->server->place;
}

/*
 * Leave a document behind that is at another place, or of an origin that this database had before: it is owed a
 * delete, and its record is gone.  The key is claimed again, as one of which nothing is known.  The job is
 * freed; returns whether it was.
 */
static bool
leave_place(Worker *worker, Job *job)
{
	if (owed_has_job(job) || is_foreign(worker, job) ||
		!(decision_is_elsewhere(job) || is_of_other_origin(worker, job)))
		return false;
	(void) document_owe_delete(job->relation, job->collection, job->key, job->account->owner, 0);
	schedule_read_due_again(worker);
	outbox_put(job->relation, OUTBOX_RECHECK, job->collection, &job->key, 1, &worker->schedule.scan.news);
	worker->moves++;
	worker->schedule.more = true;
	jobs_free(worker, job);
	return true;
}

/* Note where the job's requests go. */
static void
set_place(Job *job)
{
	if (job->account->server == NULL || (job->mirror == NULL && job->place_known))
		return;
	job->place = job->account->server->place;
	job->place_known = true;
}

/*
 * Deciding
 */

/* Return why an owed delete cannot be sent for good, in the current memory context; or NULL. */
static char *
find_owed_problem(Worker *worker, const Job *job)
{
	Oid			owner = job->account->owner;

	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(owner)))
		return psprintf("the role %u was dropped, whose API key was to delete the document: a superuser can set the record's owner to another role, and call mixpeek.retry()",
						owner);
	if (!job->place_known && !OidIsValid(get_foreign_server_oid(job->server, true)))
		return psprintf("server \"%s\" does not exist any more: create it again and call mixpeek.retry()", job->server);
	if (job->place_known && server_check_find(worker, job->server, job->place, owner) == NULL)
		return psprintf("the document is at %s, where no server leads: create one that does, with a user mapping",
						places_describe(job->place));
	if (job->account->server == NULL)
		return psprintf("server \"%s\" cannot be used: %s; the delete is tried again when a server or a user mapping changes, and by mixpeek.retry()",
						job->account->name, job->account->problem);
	return NULL;
}

/* Return why a job must fail that could be sent otherwise, in the current memory context; or NULL. */
static char *
find_problem(Worker *worker, const Job *job)
{
	if (job->long_key > 0 && job->row_exists)
		return psprintf("the key has %d bytes, more than can be stored (%d)", job->long_key, MAX_KEY_BYTES);
	if (is_foreign(worker, job))
		return pstrdup("the document is another database's: its marker does not begin with this one's origin");
	if (owed_has_job(job))
		return find_owed_problem(worker, job);
	return NULL;
}

/*
 * Check whether a row that was not found may be one that does not match the filter, and so never had a
 * document.  Each change of such a row would cost a look-up.  Rows of mirrors that were forgotten may
 * have had one.
 */
static bool
may_be_hidden(const Job *job)
{
	return job->mirror->arguments.filter && !job->mirror->forgotten;
}

/* End a job that has no account, or nothing to send at this time; returns true if it did. */
static bool
end_early(Worker *worker, Job *job)
{
	if (job->account == NULL && job->stored)
		jobs_end(worker, job, OUTCOME_FORGOTTEN, NULL);
	else if (job->account == NULL || is_not_due(job) || (owed_has_job(job) && !job->stored) ||
			 (job->refresh && (!job->stored || strcmp(job->state, "mirrored") != 0)))
		jobs_free(worker, job);
	else if (must_rest(job))
	{
		job->attempts = 0;
		jobs_end(worker, job, OUTCOME_PENDING,
				 "the last request was given up, and may still be at work on the other side");
	}
	else if (!job->stored && !job->row_exists && (job->inserted || may_be_hidden(job)) && job->error == NULL &&
			 !job->read_skipped && job->mirror->problem == NULL)
		jobs_free(worker, job); /* the row came and went before the claim */
	else
		return false;
	return true;
}

/*
 * Check whether a row that need not be sent may lack its document's id and enrichments: the key is
 * rechecked, not changed, as when the write-back columns have just been named.
 */
static bool
may_be_unwritten(const Job *job)
{
	ListCell   *lc;

	if (!job->row_exists || job->entries == NIL || !delegate_has_columns(job->mirror))
		return false;
	foreach(lc, job->entries)
	{
		if (((OutboxEntry *) lfirst(lc))->operation != OUTBOX_RECHECK)
			return false;
	}
	return true;
}

/* Make a poll of the job: its answer is written back. */
static void
poll_instead(Job *job)
{
	job->refresh = true;
	job->dirty = false;
	job->must_look_up = true;
}

/* Note the fields that the document of a forgotten record may have. */
static void
take_forgotten_fields(Job *job)
{
	MemoryContext old = MemoryContextSwitchTo(job->context);

	if (job->mirror)
		job->fields = field_list_union(job->mirror->forgotten_fields, NIL);
	MemoryContextSwitchTo(old);
}

bool
decision_make(Worker *worker, Job *job)
{
	char	   *problem;

	if (job->mirror == NULL)
		find_old_account(worker, job);
	if (end_early(worker, job) || leave_place(worker, job))
		return false;
	problem = find_problem(worker, job);
	if (problem)
		job->error = MemoryContextStrdup(job->context, problem);
	set_place(job);
	job->fields_stay = job->account->fields_stay;
	job->must_look_up = must_look_up(job);
	if (!job->stored && job->must_look_up)
		take_forgotten_fields(job);
	make_request_parts(job);
	if (job->refresh || job->error || job->read_skipped || (job->mirror && job->mirror->problem) ||
		job->account->server == NULL || job_next_step(job) != JOB_END)
		return true;
	if (job->stored && strcmp(job->state, "mirrored") == 0)
	{
		if (may_be_unwritten(job))
		{
			poll_instead(job);
			return true;
		}
		jobs_free(worker, job); /* the API has all this already */
	}
	else
	{
		job->attempts = 0;		/* the row is again what was sent last */
		jobs_end(worker, job, job->row_exists ? OUTCOME_MIRRORED : OUTCOME_FORGOTTEN, NULL);
	}
	return false;
}

void
decision_count_attempt(Job *job)
{
	if (job->dirty && job->stored && strcmp(job->state, "pending") != 0)
		job->attempts = 0;
	if (!job->refresh)
		job->attempts++;
	if (job->dirty)
		job->polls = 0;
}

void
decision_queue(Worker *worker, Job *job)
{
	Account    *account = job->account;

	if (job->error || (job->mirror && job->mirror->problem))
	{
		failure_log_count(worker->failure_log, owed_has_job(job) ? "the document cannot be deleted" :
						  job->error ? "the row cannot be mirrored" : "the mirror is broken", false);
		jobs_end(worker, job, OUTCOME_FAILED, job->error ? job->error : job->mirror->problem);
	}
	else if (job->read_skipped || account->server == NULL)
	{
		job->attempts--;
		job->next_attempt_at = clock_in(PROBLEM_DELAY * 1000);
		if (!job->read_skipped)
			account_report_problem(account);
		jobs_end(worker, job, OUTCOME_PENDING, job->read_skipped ?
				 "other rows of the table took too long to read" : account->problem);
	}
	else
	{
		dlist_push_tail(&account->ready, &job->node);
		account->nready++;
	}
}
