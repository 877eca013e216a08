/*-------------------------------------------------------------------------
 *
 * lookup.c
 *		Look-ups: requests that ask the API for the documents with given markers.
 *
 * An answer may be large, and hold anything.  It is scanned, not parsed: the marker and
 * the id of each document are read, and, of the documents that were asked for, the values
 * that the worker keeps.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/encoding.h"
#include "lib/stringinfo.h"
#include "remote/listing.h"
#include "remote/marker.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "worker/lookup.h"
#include "worker/outcome.h"
#include "worker/worker.h"

/* Why a row fails whose document cannot be addressed: creating another one would double it. */
#define UNUSABLE_ID \
	"there is a document with the row's marker, but its document_id is missing or cannot be stored in this database"

/* A document of the answer. */
typedef struct Listed
{
	char	   *document_id;	/* NULL: it has no usable one */
	char	   *marker;
	JsonText	text;
} Listed;

typedef struct Listing
{
	List	   *documents;		/* Listed */
	int			n;
	ListPage	page;
} Listing;

void
lookup_append_path(StringInfo path, const Job *job, JobStep step)
{
	appendStringInfo(path, "/list?limit=%d", LOOKUP_PAGE);
}

int
lookup_max_jobs(const Account *account)
{
	return account->lookups.size;
}

/* Append a job's markers: its own, and those that its document may have from former names of the table. */
static void
append_markers(StringInfo body, const Job *job)
{
	ListCell   *lc;

	appendStringInfoString(body, job->marker_json);
	foreach(lc, job->mirror ? job->mirror->former_prefixes : NIL)
	{
		StringInfoData marker;

		initStringInfo(&marker);
		escape_json(&marker, marker_of_key(lfirst(lc), job->key));
		appendStringInfo(body, ",%s", encoding_to_utf8(marker.data));
	}
}

char *
lookup_body(const Request *request, size_t *len)
{
	StringInfoData body;

	initStringInfo(&body);
	appendStringInfoString(&body, "{\"filters\":{\"AND\":[{\"field\":\"metadata." MARKER_FIELD
						   "\",\"operator\":\"in\",\"value\":[");
	for (int i = 0; i < request->njobs; i++)
	{
		if (i > 0)
			appendStringInfoChar(&body, ',');
		append_markers(&body, request->jobs[i]);
	}
	appendStringInfoString(&body, "]}],\"case_sensitive\":true}}");
	*len = body.len;
	return body.data;
}

/* Check whether two texts are equal, exactly or except for the case of ASCII letters. */
static bool
is_same_text(const char *a, const char *b, bool exactly)
{
	return (exactly ? strcmp(a, b) : pg_strcasecmp(a, b)) == 0;
}

/* Check whether a marker is one of a job's, exactly or except for the case of ASCII letters. */
static bool
is_marker_of(const Job *job, const char *marker, bool exactly)
{
	ListCell   *lc;

	if (is_same_text(marker, job->marker, exactly))
		return true;
	foreach(lc, job->mirror ? job->mirror->former_prefixes : NIL)
	{
		if (is_same_text(marker, marker_of_key(lfirst(lc), job->key), exactly))
			return true;
	}
	return false;
}

/* Check whether a marker was asked for, exactly or except for the case of ASCII letters. */
static bool
is_asked_for(const Request *request, const char *marker, bool exactly)
{
	for (int i = 0; marker && i < request->njobs; i++)
	{
		if (is_marker_of(request->jobs[i], marker, exactly))
			return true;
	}
	return false;
}

/* Find the documents in a list answer; if it is none, change the response and return false. */
static bool
find_documents(const HttpAnswer *answer, Response *response, ListPage *page, JsonItems *items)
{
	const char *wrong;

	memset(page, 0, sizeof(ListPage));
	if (!answer_is_utf8(answer))
		response_reject_unreadable(response, answer, "it is not UTF-8");
	else if (answer->status != 204 && !listing_read_page(answer->body, answer->body_len, page, &wrong))
		response_reject_unreadable(response, answer, response_describe_wrong(answer, wrong));
	else if (!listing_scan_documents(page, items))
		response_reject(response, VERDICT_UNSURE, "the API's answer holds no list of documents");
	return response->verdict == VERDICT_DONE;
}

/*
 * Read the documents of an answer.  If it has one that was not asked for, the API does not know the
 * filter, and the absence of other documents says nothing: the response becomes a refusal.  An API that
 * compares texts without regard to case lists the documents of keys that differ only in that, too.
 */
static void
read_listing(const Request *request, const HttpAnswer *answer, Response *response, Listing *listing)
{
	JsonItems	items;

	memset(listing, 0, sizeof(Listing));
	if (!find_documents(answer, response, &listing->page, &items))
		return;
	while (scan_next(&items))
	{
		Listed		listed = {.text = items.value};

		if (items.value.depth == 0)
			continue;
		if (*items.value.start == '{')
			answer_listed(&items.value, &listed.document_id, &listed.marker);
		if (!is_asked_for(request, listed.marker, false) || listing->n == LOOKUP_PAGE)
		{
			response_reject(response, VERDICT_REFUSED, "the API lists documents that were not asked for");
			return;
		}
		listing->n++;
		if (is_asked_for(request, listed.marker, true))
			listing->documents = lappend(listing->documents, memcpy(palloc(sizeof(Listed)), &listed, sizeof(Listed)));
	}
}

/*
 * Find the job's document.  Of several documents with its marker this is the one that it knows, else
 * the first one.  If the create of a successor is in doubt, both may be listed: then it is the first one
 * that the job does not know.  One without a usable id is found if there is no other.
 */
static const Listed *
find_document(const Job *job, const Listing *listing)
{
	bool		prefers_known = !job->in_doubt;
	const Listed *found = NULL;
	const Listed *unusable = NULL;
	bool		found_known = false;
	ListCell   *lc;

	foreach(lc, listing->documents)
	{
		const Listed *listed = lfirst(lc);
		bool		known;

		if (!is_marker_of(job, listed->marker, true))
			continue;
		if (listed->document_id == NULL)
		{
			unusable = listed;
			continue;
		}
		if ((job->replaced_id && strcmp(listed->document_id, job->replaced_id) == 0) ||
			(job->gone && strcmp(listed->document_id, job->gone) == 0))
			continue;			/* lists may be out of date */
		known = job->document_id && strcmp(listed->document_id, job->document_id) == 0;
		if (found == NULL || (known != found_known && known == prefers_known))
		{
			found = listed;
			found_known = known;
		}
	}
	return found ? found : unusable;
}

/* Check whether the look-up itself is refused, whoever asks. */
static bool
cannot_filter(const HttpAnswer *answer, const Response *response)
{
	return (answer->status == 200 && response->verdict == VERDICT_REFUSED) || status_has(answer, STATUS_NO_FILTER);
}

/*
 * Split a look-up that was refused: it may have been too large, or contain one marker that the API
 * does not accept.  Returns false if that is no use, because the look-up was of one key, or because
 * not even the first look-up of one key was answered.
 */
static bool
split_lookup(Request *request, const HttpAnswer *answer, const Response *response)
{
	Account    *account = request->account;

	if (!cannot_filter(answer, response) && !status_has(answer, STATUS_TOO_LARGE))
		return false;
	if (request->njobs == 1)
	{
		account->lookups.refused = !account->lookups.works;
		if (account->lookups.refused)
			account->lookups.size = LOOKUP_BATCH;
		return false;
	}
	if (account->lookups.refused)
		return false;
	account->lookups.size = request->njobs / 2;
	for (int i = request->njobs - 1; i >= 0; i--)
		request_requeue(request->jobs[i]);
	return true;
}

/* Note that look-ups work, and let the next one ask for more. */
static void
note_lookup_works(Account *account)
{
	account->lookups.works = true;
	account->lookups.refused = false;
	account->lookups.size = Min(LOOKUP_BATCH, account->lookups.size * 2);
}

/* Look up the rest of the jobs again, fewer at once: their documents may be on another page. */
static void
look_up_again(Request *request, List *jobs)
{
	ListCell   *lc;

	request->account->lookups.size = Max(1, request->njobs / 2);
	foreach(lc, jobs)
		request_requeue(lfirst(lc));
}

/* Handle a failed look-up: split it, or fail for each job, or take the documents for missing (if_unfindable). */
static void
collect_failure(Worker *worker, Request *request, const HttpAnswer *answer, Response *response)
{
	const MixpeekServer *server = request->account->server;

	if (split_lookup(request, answer, response))
		return;
	/* fewer at once may work the next time */
	if (response->verdict == VERDICT_UNSURE)
		request->account->lookups.size = Max(1, request->njobs / 2);
	for (int i = request->njobs - 1; i >= 0; i--)
	{
		if (cannot_filter(answer, response) && server && server->create_unfindable)
			outcome_take_document(worker, request->jobs[i], NULL);
		else
			outcome_take_failure(worker, request->jobs[i], JOB_LOOK_UP, answer, response);
	}
}

/* Give a job its document, or none. */
static void
hand_over(Worker *worker, Job *job, const Listed *listed)
{
	SentNames	sent = request_sent_names(job);
	MemoryContext context;
	MemoryContext old;
	AnswerDocument document;
	const char *wrong;

	if (listed == NULL || (job->refresh && listed->document_id == NULL))
	{
		outcome_take_document(worker, job, NULL);
		return;
	}
	if (listed->document_id == NULL)
	{
		failure_log_count(worker->failure_log, "a document has no usable id", false);
		jobs_end(worker, job, OUTCOME_FAILED, UNUSABLE_ID);
		return;
	}
	context = AllocSetContextCreate(CurrentMemoryContext, "mixpeek document", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	if (!answer_document(listed->text.start, listed->text.end, &sent, &document, &wrong))
		elog(ERROR, "a scanned document could not be read");
	outcome_take_document(worker, job, &document);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

void
lookup_collect(Worker *worker, Request *request, const HttpAnswer *answer, Response *response)
{
	List	   *missing = NIL;
	Listing		listing;
	bool		page;

	if (response->verdict == VERDICT_DONE)
		read_listing(request, answer, response, &listing);
	if (response->verdict != VERDICT_DONE)
	{
		collect_failure(worker, request, answer, response);
		return;
	}
	note_lookup_works(request->account);
	page = request->njobs > 1 && listing_is_partial(&listing.page, listing.n, LOOKUP_PAGE);
	for (int i = 0; i < request->njobs; i++)
	{
		Job		   *job = request->jobs[i];
		const Listed *listed = find_document(job, &listing);

		if (listed == NULL && page)
			missing = lappend(missing, job);
		else
			hand_over(worker, job, listed);
	}
	if (missing)
		look_up_again(request, missing);
}
