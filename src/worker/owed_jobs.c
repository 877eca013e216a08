/*-------------------------------------------------------------------------
 *
 * owed_jobs.c
 *		Jobs of owed deletes, and of rows whose documents were to be deleted.
 *
 * unmirror(delete_documents => true) makes owed deletes, and the same rows may be mirrored
 * again before these are done.  A row's marker does not change then.  If the row's look-up
 * found the document, the delete would take away what the row wants; and if a create of the
 * old mirror is in doubt, the row must not create another document before that is settled.
 * Therefore the row takes the record back, with all that it says.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "remote/marker.h"
#include "state/documents.h"
#include "state/owed.h"
#include "worker/claim.h"
#include "worker/decision.h"
#include "worker/owed_jobs.h"
#include "worker/worker.h"

List *
owed_jobs_drop_wanted(Worker *worker, List *jobs)
{
	List	   *owed = NIL;
	ListCell   *lc;

	foreach(lc, jobs)
	{
		Job		   *job = lfirst(lc);

		if (owed_has_job(job) && job->stored && job->document_id && !job->in_doubt)
			owed = lappend(owed, job);
	}
	owed_forget_wanted(owed);
	foreach(lc, owed)
	{
		Job		   *job = lfirst(lc);

		if (job->document_id)
			continue;
		jobs_end(worker, job, OUTCOME_FORGOTTEN, NULL);
		jobs = list_delete_ptr(jobs, job);
	}
	return jobs;
}

/*
 * Check whether a job's row may have a document that is to be deleted.  A record says nothing against
 * that, as long as it knows no document.
 */
static bool
may_take_back(const Job *job)
{
	return job->mirror && job->mirror->forgotten && job->row_exists && job->document_id == NULL &&
		job->replaced_id == NULL && !decision_is_elsewhere(job) && job->mirror->problem == NULL && job->error == NULL;
}

/* Check whether an owed delete's document is where a job's requests go. */
static bool
is_at_place(const OwedDelete *owed, const Account *account)
{
	if (owed->place_known && account->server)
		return owed->place == account->server->place;
	return strcmp(owed->server, account->name) == 0;
}

/* Check whether an owed delete has a job's marker, at its place. */
static bool
is_of_job(const OwedDelete *owed, const Job *job, const char *marker)
{
	return strcmp(owed->marker, marker) == 0 && strcmp(owed->collection, job->collection) == 0 &&
		is_at_place(owed, job->account);
}

/*
 * Give a job the record of an owed delete; returns false if the job must wait.  Another role's
 * record is not taken, because it shows what only its owner may read.  The row waits until the
 * document is deleted, or that has failed.
 */
static bool
take_back(Worker *worker, Job *job, const OwedDelete *owed)
{
	if (owed->owner != job->account->owner)
		return owed->failed;
	if (job->assumed_new)
		document_fetch(list_make1(job));
	job->assumed_new = false;
	if (!may_take_back(job))
		return true;
	if (owed->sending || jobs_find(&worker->jobs, InvalidOid, owed->collection, owed->key) ||
		!owed_take_back(owed, job->relation, job->key))
		return false;
	document_fetch(list_make1(job));
	schedule_note_due(worker, job->next_attempt_at);
	worker->moves++;
	return true;
}

/* Give a job the records of all owed deletes that it may take; returns the one that it must wait for, or NULL. */
static OwedDelete *
take_all_back(Worker *worker, Job *job, const char *marker, const List *found)
{
	ListCell   *lc;

	foreach(lc, found)
	{
		OwedDelete *owed = lfirst(lc);

		if (is_of_job(owed, job, marker) && !take_back(worker, job, owed))
			return owed;
	}
	return NULL;
}

List *
owed_jobs_take_back(Worker *worker, List *jobs)
{
	char	  **markers = palloc(sizeof(char *) * (list_length(jobs) + 1));
	List	   *candidates = NIL;
	List	   *found;
	int			n = 0;
	ListCell   *lc;

	foreach(lc, jobs)
	{
		Job		   *job = lfirst(lc);

		if (!may_take_back(job))
			continue;
		candidates = lappend(candidates, job);
		markers[n++] = job->marker ? job->marker : marker_of_key(job->mirror->marker_prefix, job->key);
	}
	found = n > 0 ? owed_find(markers, n) : NIL;
	for (int i = 0; i < n && found != NIL; i++)
	{
		Job		   *job = list_nth(candidates, i);
		OwedDelete *owed = take_all_back(worker, job, markers[i], found);

		if (owed == NULL)
			continue;
		jobs = list_delete_ptr(jobs, job);
		schedule_retry_in(worker, LOCK_DELAY);
		claim_leave_job(worker, job, jobs_find(&worker->jobs, InvalidOid, owed->collection, owed->key) != NULL);
	}
	return jobs;
}
