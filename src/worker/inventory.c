/*-------------------------------------------------------------------------
 *
 * inventory.c
 *		Which documents does the API have that no record knows?
 *
 * After a restore or a recovery to an earlier time, there may be documents of rows that the
 * database does not have any more, and neither has a record of.  Nothing but the API's list of the
 * collection names them.  (mixpeek.adopt() adds the entries.)
 *
 * The list is requested without a filter: the marker's prefix is compared here, and so each
 * collection is listed whole.  An entry stays in the outbox until its page was listed; then the entry of
 * the next page takes its place.  A document that no record knows gets one, with which its key is
 * claimed, or an owed delete if its key has another document: it needs no look-up, and is not found
 * again.  Where pages are counted by an offset, a document that is deleted
 * meanwhile moves the others to earlier pages.  So if anything was found, the list is read again
 * from its start, until nothing is found; the page's text begins with FOUND_BEFORE until then.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/clock.h"
#include "remote/answer.h"
#include "remote/listing.h"
#include "state/key_table.h"
#include "state/mirror_records.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/expansion.h"
#include "worker/inventory.h"
#include "worker/jobs.h"
#include "worker/outcome.h"
#include "worker/worker.h"

/* Documents of a page. */
#define PAGE_SIZE		100

/* Seconds after which a list that the API refuses is requested again. */
#define REFUSED_DELAY	60

#define FOUND_BEFORE	'+'

/* Stands for the key of the job.  No key of a row has this text, and if one had, it would only wait. */
#define INVENTORY_KEY	"\001 all documents of the collection"

bool
inventory_has_job(Worker *worker, const OutboxEntry *entry)
{
	return jobs_find(&worker->jobs, entry->relation, entry->collection, INVENTORY_KEY) != NULL;
}

bool
inventory_take(Worker *worker, OutboxEntry *entry, Job **job)
{
	CachedMirror *cached;
	MemoryContext old;

	*job = NULL;
	if (inventory_has_job(worker, entry))
	{
		worker->schedule.left_busy = true;
		return false;
	}
	worker->recovery.current_table = entry->relation;
	cached = mirror_cache_get(worker->cache, entry->relation, entry->collection);
	if (cached->blocked_until > 0)
		schedule_retry_in(worker, LOCK_DELAY);
	else if (cached->list_after > clock_seconds())
		schedule_retry_in(worker, cached->list_after - clock_seconds());
	if (cached->blocked_until > 0 || cached->list_after > clock_seconds() || !schedule_has_room(cached))
		return false;
	if (cached->mirror == NULL)
		return true;
	if (cached->mirror->problem)
	{
		expansion_put_off(worker, cached, cached->mirror->problem);
		return false;
	}
	*job = jobs_create(worker, cached, entry->collection, INVENTORY_KEY);
	old = MemoryContextSwitchTo((*job)->context);
	(*job)->inventory = outbox_copy_entry(entry);
	MemoryContextSwitchTo(old);
	return true;
}

/*
 * The request
 */

/* Return the page that a job requests, as listing_append_query() takes it. */
static const char *
job_page(const Job *job)
{
	const char *key = job->inventory->key;

	if (key && *key == FOUND_BEFORE)
		key++;
	return key && *key ? key : NULL;
}

void
inventory_append_path(StringInfo path, const Job *job, JobStep step)
{
	appendStringInfoString(path, "/list");
	listing_append_query(path, job_page(job), PAGE_SIZE);
}

char *
inventory_body(const Request *request, size_t *len)
{
	*len = strlen("{}");
	return pstrdup("{}");
}

/*
 * The answer
 */

/* Note a listed document, if it is one of the job's mirror and can be addressed. */
static void
note_listed(Job *job, const char *document_id, const char *marker)
{
	const char *prefix = job->mirror->marker_prefix;
	size_t		length = strlen(prefix);
	ListedDocument *listed;
	MemoryContext old;

	if (document_id == NULL || marker == NULL || strncmp(marker, prefix, length) != 0 ||
		strlen(marker) - length > MAX_KEY_BYTES)
		return;
	old = MemoryContextSwitchTo(job->context);
	listed = palloc(sizeof(ListedDocument));
	listed->key = pstrdup(marker + length);
	listed->document_id = pstrdup(document_id);
	job->listed = lappend(job->listed, listed);
	MemoryContextSwitchTo(old);
}

/* Take the documents of a page; returns false, and makes the response say what is wrong, if it is none. */
static bool
take_page(Job *job, const HttpAnswer *answer, Response *response)
{
	ListPage	page = {0};
	JsonItems	items;
	const char *wrong;
	char	   *next;
	int			n = 0;

	if (!answer_is_utf8(answer))
		response_reject_unreadable(response, answer, "it is not UTF-8");
	else if (answer->status != 204 && !listing_read_page(answer->body, answer->body_len, &page, &wrong))
		response_reject_unreadable(response, answer, response_describe_wrong(answer, wrong));
	else if (!listing_scan_documents(&page, &items))
		response_reject(response, VERDICT_UNSURE, "the API's answer holds no list of documents");
	if (response->verdict != VERDICT_DONE)
		return false;
	for (; scan_next(&items); n++)
	{
		char	   *document_id;
		char	   *marker;

		if (*items.value.start != '{')
			continue;
		answer_listed(&items.value, &document_id, &marker);
		note_listed(job, document_id, marker);
	}
	next = listing_next_page(&page, job_page(job), n, PAGE_SIZE);
	job->next_page = next ? MemoryContextStrdup(job->context, next) : NULL;
	return true;
}

void
inventory_collect(Worker *worker, Request *request, const HttpAnswer *answer, Response *response)
{
	Job		   *job = request->jobs[0];

	if (response->verdict != VERDICT_DONE || !take_page(job, answer, response))
	{
		outcome_take_failure(worker, job, JOB_LIST, answer, response);
		return;
	}
	job->answered = true;
	jobs_end(worker, job, OUTCOME_FORGOTTEN, NULL);
}

/*
 * Storing
 */

/* Put the entry of the next page into the outbox, or of the first one again, if there is to be one. */
static void
put_next_page(Worker *worker, const Job *job, bool found)
{
	const OutboxEntry *entry = job->inventory;
	char	   *page = NULL;

	found = found || (entry->key && *entry->key == FOUND_BEFORE);
	if (job->next_page)
		page = found ? psprintf("%c%s", FOUND_BEFORE, job->next_page) : job->next_page;
	else if (!found || job_page(job) == NULL)
		return;					/* a single page moves nowhere */
	outbox_put(entry->relation, entry->operation, entry->collection, &page, 1, &worker->schedule.scan.news);
}

static void
store_page(Worker *worker, Job *job)
{
	ListedPage	page = {.relation = job->relation,.collection = job->collection,.prefix = job->mirror->marker_prefix,
		.owner = job->mirror->owner,.server = job->server,.place = job->place,.documents = job->listed
	};
	int64		n = mirror_records_add_listed(&page);

	if (n > 0)
		schedule_note_due(worker, clock_now());
	key_table_set_problem(job->relation, job->collection, NULL);
	put_next_page(worker, job, n > 0);
	outbox_remove(list_make1(job->inventory));
	worker->moves++;
	worker->schedule.more = true;
}

/* Have an entry read again later whose list the API refuses. */
static void
put_off(Worker *worker, Job *job)
{
	CachedMirror *cached = mirror_cache_get(worker->cache, job->relation, job->collection);

	key_table_set_problem(job->relation, job->collection, psprintf("the documents could not be listed: %s", job->error));
	ereport(LOG,
			(errmsg("mixpeek_docs: the documents of table %u could not be listed: %s", job->relation, job->error),
			 errdetail("Until they are, documents of rows that do not exist any more remain in collection \"%s\".",
					   job->collection)));
	cached->list_after = clock_seconds() + REFUSED_DELAY;
	job->next_attempt_at = clock_in(REFUSED_DELAY * 1000);
}

/* Have an entry read again when its job may make its next attempt. */
static void
retry_later(Worker *worker, const Job *job)
{
	BlockNumber block = ItemPointerGetBlockNumber(&job->inventory->tid);

	blockset_add(&worker->schedule.scan.later, block, block);
	schedule_retry_in(worker, Max(job->next_attempt_at - clock_now(), 0) / (double) USECS_PER_SEC);
}

void
inventory_settle(Worker *worker, List *jobs)
{
	ListCell   *lc;

	foreach(lc, jobs)
	{
		Job		   *job = lfirst(lc);

		if (job->inventory == NULL)
			continue;
		if (job->outcome == OUTCOME_FORGOTTEN)
			store_page(worker, job);
		else
		{
			if (job->outcome == OUTCOME_FAILED)
				put_off(worker, job);
			retry_later(worker, job);
		}
	}
}
