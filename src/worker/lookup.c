/*-------------------------------------------------------------------------
 *
 * lookup.c
 *		Look-ups: which documents have these markers?
 *
 * A list has whatever the other side puts into it, and may be large.  So it is run over:
 * of each document its marker and its id are read, and of those that were asked for what
 * the worker keeps.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/json.h"
#include "lib/stringinfo.h"
#include "remote/marker.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "worker/lookup.h"
#include "worker/outcome.h"
#include "worker/worker.h"

/* Bytes of what a list says of its pages that is worth being read. */
#define MAX_PAGINATION	10000

/* A document that was listed. */
typedef struct Listed
{
	char	   *document_id;	/* not NULL */
	char	   *marker;
	JsonText	text;
} Listed;

typedef struct Listing
{
	List	   *documents;		/* Listed */
	int			n;				/* with those that have no usable id */
	JsonText	pagination;		/* start is NULL if there is none */
} Listing;

void
lookup_append_path(StringInfo path, const Job *job)
{
	appendStringInfo(path, "/list?limit=%d", LOOKUP_PAGE);
}

int
lookup_max_jobs(const Account *account)
{
	return account->lookup_batch;
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
		appendStringInfoString(&body, request->jobs[i]->marker_json);
	}
	appendStringInfoString(&body, "]}]}}");
	*len = body.len;
	return body.data;
}

static bool
is_asked_for(const Request *request, const char *marker)
{
	for (int i = 0; i < request->njobs; i++)
	{
		if (marker && strcmp(marker, request->jobs[i]->marker) == 0)
			return true;
	}
	return false;
}

/* Finds the parts of a list's answer; false if it is none, and what is wrong then is said. */
static bool
find_parts(const HttpAnswer *answer, Response *response, JsonText *results, JsonText *pagination)
{
	const char *end = answer->body + answer->body_len;
	JsonItems	items;
	JsonText	other;

	if (!answer_is_utf8(answer))
		response_unreadable(response, answer, "it is not UTF-8");
	else if (answer->status != 204 && (!scan_items(answer->body, &items) || !items.named))
	{
		if (!scan_text(answer->body, answer->body_len, &other))
			response_unreadable(response, answer, response_wrong_at(answer, other.end));
	}
	else if (answer->status != 204)
	{
		while (scan_next(&items))
		{
			if (scan_string_is(&items.name, "results"))
				*results = items.value;
			else if (scan_string_is(&items.name, "pagination"))
				*pagination = items.value;
		}
		if (!scan_ended(&items, end))
			response_unreadable(response, answer, response_wrong_at(answer, items.place));
	}
	if (response->verdict == VERDICT_DONE && (results->start == NULL || *results->start != '['))
	{
		response->verdict = VERDICT_UNSURE;
		response->reason = response->message = "the API's answer holds no list of documents";
	}
	return response->verdict == VERDICT_DONE;
}

/*
 * The documents that an answer lists.  An answer that holds others than were asked for
 * says nothing of those that it does not hold: the API knows no such filter.
 */
static void
read_listing(const Request *request, const HttpAnswer *answer, Response *response, Listing *listing)
{
	JsonText	results = {0};
	JsonItems	items;

	memset(listing, 0, sizeof(Listing));
	if (!find_parts(answer, response, &results, &listing->pagination))
		return;
	scan_items(results.start, &items);
	while (scan_next(&items))
	{
		Listed		listed = {.text = items.value};

		if (items.value.depth == 0)
			continue;
		if (*items.value.start == '{')
			answer_listed(&items.value, &listed.document_id, &listed.marker);
		if (!is_asked_for(request, listed.marker) || listing->n == LOOKUP_PAGE)
		{
			response->verdict = VERDICT_REFUSED;
			response->reason = response->message = "the API lists documents that were not asked for";
			return;
		}
		listing->n++;
		if (listed.document_id)
			listing->documents = lappend(listing->documents, memcpy(palloc(sizeof(Listed)), &listed, sizeof(Listed)));
	}
}

static JsonbValue *
find_number_or_string(JsonbContainer *object, const char *field)
{
	JsonbValue *value = json_member(object, field);

	return value && (value->type == jbvNumeric || value->type == jbvString) ? value : NULL;
}

/* What the list says of its pages, if that can be made sense of. */
static JsonbContainer *
read_pagination(const Listing *listing)
{
	static const JsonBounds bounds = {8, MAX_PAGINATION, MAX_PAGINATION};
	Jsonb	   *json;
	char	   *error;

	if (listing->pagination.start == NULL || scan_excess(&listing->pagination, &bounds))
		return NULL;
	json = response_parse_utf8(listing->pagination.start,
							   listing->pagination.end - listing->pagination.start, &error);
	return json && JB_ROOT_IS_OBJECT(json) ? &json->root : NULL;
}

/* Is the list one page of several?  An empty one is none. */
static bool
is_page(const Listing *listing)
{
	int			n = listing->n;
	JsonbContainer *pagination = n > 0 ? read_pagination(listing) : NULL;
	JsonbValue *total;

	if (pagination == NULL)
		return n >= LOOKUP_PAGE;
	total = find_number_or_string(pagination, "total");
	if (total && total->type == jbvNumeric)
		return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(total->val.numeric),
												 NumericGetDatum(int64_to_numeric(n)))) > 0;
	return find_number_or_string(pagination, "next_page") ||
		find_number_or_string(pagination, "next_cursor");
}

/*
 * Of several documents with one marker the job keeps the one it knows, else
 * the first.
 */
static const Listed *
find_document(const Job *job, const Listing *listing)
{
	const Listed *found = NULL;
	ListCell   *lc;

	foreach(lc, listing->documents)
	{
		const Listed *listed = lfirst(lc);

		if (strcmp(listed->marker, job->marker) != 0)
			continue;
		if (job->document_id && strcmp(listed->document_id, job->document_id) == 0)
			return listed;
		if (found == NULL)
			found = listed;
	}
	return found;
}

/* A refusal of the look-up itself, not of who asks. */
static bool
cannot_filter(const HttpAnswer *answer, const Response *response)
{
	return (answer->status == 200 && response->verdict == VERDICT_REFUSED) || answer->status == 400 || answer->status == 405 || answer->status == 422;
}

/*
 * A look-up that is refused may have been too large, or ask for one marker that
 * the API does not like: smaller ones tell, unless not even the first of one key was
 * answered.
 */
static bool
split_lookup(Request *request, const HttpAnswer *answer, const Response *response)
{
	Account    *account = request->account;

	if (!cannot_filter(answer, response) && answer->status != 413)
		return false;
	if (request->njobs == 1)
	{
		account->lookups_refused = !account->lookups_work;
		if (account->lookups_refused)
			account->lookup_batch = LOOKUP_BATCH;
		return false;
	}
	if (account->lookups_refused)
		return false;
	account->lookup_batch = request->njobs / 2;
	for (int i = request->njobs - 1; i >= 0; i--)
		request_requeue(request->jobs[i]);
	return true;
}

static void
note_lookup_works(Account *account)
{
	account->lookups_work = true;
	account->lookups_refused = false;
	account->lookup_batch = Min(LOOKUP_BATCH, account->lookup_batch * 2);
}

/* Some of the jobs' documents may stand on another page. */
static void
look_up_again(Request *request, List *jobs)
{
	ListCell   *lc;

	request->account->lookup_batch = Max(1, request->njobs / 2);
	foreach(lc, jobs)
		request_requeue(lfirst(lc));
}

/* A look-up of all jobs that says nothing of them. */
static void
collect_failure(Worker *worker, Request *request, const HttpAnswer *answer, Response *response)
{
	const MixpeekServer *server = request->account->server;

	if (split_lookup(request, answer, response))
		return;
	/* too many at once may be what was wrong */
	if (response->verdict == VERDICT_UNSURE)
		request->account->lookup_batch = Max(1, request->njobs / 2);
	for (int i = request->njobs - 1; i >= 0; i--)
	{
		if (cannot_filter(answer, response) && server && server->create_unfindable)
			outcome_take_document(worker, request->jobs[i], NULL);
		else
			outcome_take_failure(worker, request->jobs[i], JOB_LOOK_UP, answer, response);
	}
}

/* Hands a job its document, or none. */
static void
hand_over(Worker *worker, Job *job, const Listed *listed)
{
	List	   *sent = job->mirror && job->mirror->template ? job->mirror->template->names : NIL;
	MemoryContext context;
	MemoryContext old;
	AnswerDocument document;
	const char *wrong;

	if (listed == NULL)
	{
		outcome_take_document(worker, job, NULL);
		return;
	}
	context = AllocSetContextCreate(CurrentMemoryContext, "mixpeek document", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	if (!answer_document(listed->text.start, listed->text.end, sent, &document, &wrong))
		elog(ERROR, "a document that was run over is none");
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
	page = request->njobs > 1 && is_page(&listing);
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
