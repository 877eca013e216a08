/*-------------------------------------------------------------------------
 *
 * prepare.c
 *		What a claimed key's job needs before its first request.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/crash.h"
#include "remote/marker.h"
#include "state/documents.h"
#include "state/owed.h"
#include "utils/memutils.h"
#include "worker/claim.h"
#include "worker/delegate.h"
#include "worker/owed_jobs.h"
#include "worker/prepare.h"
#include "worker/rendering.h"
#include "worker/worker.h"

/*
 * Rows
 */

bool
prepare_needs_row(const Job *job)
{
	return job->mirror && job->mirror->problem == NULL && !job->refresh && job->long_key == 0 &&
		job->inventory == NULL;
}

/* The jobs of one mirror whose rows the worker reads. */
typedef struct Rows
{
	int			n;
	Job		  **jobs;
} Rows;

/* Copy a row's rendered document into its job's memory. */
static void
keep_row(void *arg, int i, const RenderedRow *row)
{
	Job		   *job = ((Rows *) arg)->jobs[i];

	rendering_begin(job, row->content_len, row->features ? row->features_len : -1);
	memcpy(job->content, row->content, row->content_len);
	if (row->features)
		memcpy(job->features, row->features, row->features_len);
	rendering_end(job);
}

/*
 * Note how the reading of a job's row ended.  Returns false if the job was left, because there is no
 * room for the bytes of its document beside those of others.
 */
static bool
note_row_end(Worker *worker, Job *job, RowEnd end, const char *problem)
{
	if (end != ROW_FOUND)
	{
		rendering_forget(job);
		job->row_exists = false;
	}
	if (end == ROW_FAILED)
		job->error = MemoryContextStrdup(job->context, problem);
	job->read_skipped = end == ROW_SKIPPED;
	if (end != ROW_LEFT)
		return true;

	/*
	 * until the documents beside it are gone; after an agent's answer they
	 * may be gone already
	 */
	job->account->full = job->account->bytes > 0;
	job->account->excluded = true;
	claim_leave_job(worker, job, false);
	return false;
}

/* Read the rows of jobs of one mirror; returns those that were not left. */
static List *
read_rows(Worker *worker, Mirror *mirror, List *jobs)
{
	Reading		reading = {.mirror = mirror,.take_row = keep_row};
	Rows		rows = {0, palloc(sizeof(Job *) * list_length(jobs))};
	Account    *account = ((Job *) linitial(jobs))->account;
	List	   *read = NIL;
	ListCell   *lc;

	worker->recovery.current_table = mirror->relation;
	reading.keys = palloc0(sizeof(ReadKey) * list_length(jobs));
	reading.arg = &rows;
	reading.room = rendering_room(account);
	foreach(lc, jobs)
	{
		Job		   *job = lfirst(lc);

		reading.keys[rows.n].key = job->key;
		reading.keys[rows.n].marker = job->marker;
		rows.jobs[rows.n++] = job;
	}
	reading.nkeys = rows.n;
	reading_run(&reading);
	for (int i = 0; i < rows.n; i++)
	{
		if (note_row_end(worker, rows.jobs[i], reading.keys[i].end, reading.keys[i].problem))
			read = lappend(read, rows.jobs[i]);
	}
	return read;
}

/* Check whether the worker reads the row of a job, and has not yet. */
static bool
is_read_here(const Job *job)
{
	return prepare_needs_row(job) && !job->read;
}

/* Read the rows of all jobs that need one; returns the jobs that were not left. */
static List *
read_all_rows(Worker *worker, List *jobs)
{
	List	   *mirrors = NIL;
	List	   *others = NIL;
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, jobs)
	{
		if (is_read_here(lfirst(lc)))
			mirrors = list_append_unique_ptr(mirrors, ((Job *) lfirst(lc))->mirror);
		else
			others = lappend(others, lfirst(lc));
	}
	foreach(lc, mirrors)
	{
		List	   *group = NIL;

		foreach(lc2, jobs)
		{
			if (is_read_here(lfirst(lc2)) && ((Job *) lfirst(lc2))->mirror == lfirst(lc))
				group = lappend(group, lfirst(lc2));
		}
		crash_note_stored(((Mirror *) lfirst(lc))->relation);
		others = list_concat(others, read_rows(worker, lfirst(lc), group));
		crash_note_clear();
	}
	return others;
}

/*
 * Rows that agents have read
 */

/* Forget what was fetched of a job's record. */
static void
forget_record(Job *job)
{
	job->stored = job->assumed_new = job->in_doubt = false;
	ItemPointerSetInvalid(&job->record_tid);
	job->document_id = job->replaced_id = NULL;
	job->fields = NIL;
	job->none = false;
	job->sent_content.known = job->sent_features.known = false;
	job->intent_content.known = job->intent_features.known = false;
	job->attempts = job->polls = 0;
	job->server = NULL;
	job->place_known = false;
	job->marker = NULL;
	job->next_attempt_at = 0;
	job->state = NULL;
}

bool
prepare_take_read(Worker *worker, Job *job, RowEnd end, const char *problem)
{
	job->read = true;
	job->read_marker = job->marker;
	forget_record(job);
	return note_row_end(worker, job, end, problem);
}

/* Return a job's marker: the stored one, or else the one of its mirror and key. */
static char *
marker_or_default(Job *job, char *stored)
{
	return stored ? stored : marker_of_key(job->mirror->marker_prefix, job->key);
}

/*
 * Check whether a row was rendered with another marker than its record has now, which may have
 * changed while an agent read.
 */
static bool
is_outdated(Job *job)
{
	return job->read && strcmp(marker_or_default(job, job->marker), marker_or_default(job, job->read_marker)) != 0;
}

/*
 * Other jobs in the way
 */

/* Note a job's marker.  One without a mirror and a record has none, and nothing to send. */
static void
set_marker(Job *job)
{
	MemoryContext old = MemoryContextSwitchTo(job->context);

	if (job->mirror)
		job->marker = marker_or_default(job, job->marker);
	MemoryContextSwitchTo(old);
}

/*
 * Check whether a job must wait for one of another table with the same marker: a table that was
 * dropped and created again has the markers of the old one, whose last requests may still be under
 * way.  The document that they leave must be found by the new table's look-up.  An owed delete
 * waits for the requests of the mirror that it comes from, and a row for those of an owed delete.
 */
static bool
waits_for_namesake(Worker *worker, Job *job)
{
	return job->marker && job->inventory == NULL && !jobs_take_marker(&worker->jobs, job);
}

/* Leave the jobs that must not go on yet, and return the others. */
static List *
leave_unready(Worker *worker, List *jobs)
{
	List	   *kept = NIL;
	ListCell   *lc;

	foreach(lc, jobs)
	{
		Job		   *job = lfirst(lc);

		if (is_outdated(job))
		{
			jobs_free(worker, job);
			schedule_rescan(worker);
			continue;
		}
		set_marker(job);
		if (waits_for_namesake(worker, job))
			claim_leave_job(worker, job, true);
		else
			kept = lappend(kept, job);
	}
	return kept;
}

/*
 * Records
 */

/*
 * Fetch the records of the jobs, except those of inserted rows: these are assumed to be new.  If
 * that is wrong, the primary key of mixpeek.documents will show it.
 */
static void
fetch_records(List *jobs)
{
	List	   *known = NIL;
	ListCell   *lc;

	foreach(lc, jobs)
	{
		Job		   *job = lfirst(lc);

		job->assumed_new = job->inserted && prepare_needs_row(job);
		if (!job->assumed_new)
			known = lappend(known, job);
	}
	document_fetch(known);
}

/*
 * Look up the stored record of a key that was assumed to be new, unless its row was found and
 * rendered and its server is usable.  In all other cases the decision depends on the record.
 */
static void
fetch_assumed_new(List *jobs)
{
	List	   *unclear = NIL;
	ListCell   *lc;

	foreach(lc, jobs)
	{
		Job		   *job = lfirst(lc);

		if (!job->assumed_new || (job->row_exists && job->error == NULL && !job->read_skipped && job->account->server))
			continue;
		job->assumed_new = false;
		unclear = lappend(unclear, job);
	}
	document_fetch(unclear);
}

List *
prepare_jobs(Worker *worker, List *jobs)
{
	ListCell   *lc;

	recovery_work_on_many(worker);
	fetch_records(jobs);
	foreach(lc, jobs)
	{
		Job		   *job = lfirst(lc);

		if (!job->dirty && job->stored && strcmp(job->state, "mirrored") == 0)
			job->refresh = true;
	}
	jobs = read_all_rows(worker, delegate_reads(worker, jobs));
	recovery_work_on_many(worker);
	rendering_hash(jobs);
	fetch_assumed_new(jobs);
	jobs = owed_jobs_drop_wanted(worker, jobs);
	jobs = owed_jobs_take_back(worker, jobs);
	return leave_unready(worker, jobs);
}
