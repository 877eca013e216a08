/*
 * taxonomy.c
 *	  Applying a taxonomy to documents that are there, and the task of doing so.
 *	  What taxonomy it is makes no difference to the enrichments.
 */
#include "taxonomy.h"

#include <stdio.h>
#include <stdlib.h>

#include "answer.h"
#include "options.h"
#include "schema.h"
#include "select.h"
#include "timer.h"
#include "traits.h"

#define MAX_TASKS 1024

static double started[MAX_TASKS];	/* when, in unix time, by the task's number */
static unsigned task_count;

/* Enriches the selected documents, after the time that enrichments take. */
static void
enrich_selection(const Selection *selection)
{
	for (size_t i = 0; i < selection->count; i++)
		if (selection->documents[i]->enriched == ENRICHED_NONE)
		{
			selection->documents[i]->enriched = ENRICHED_COMPUTED;
			selection->documents[i]->enriched_from = clock_wall();
		}
}

void
taxonomy_apply(Request *request)
{
	const JsonNode *body = request_checked(request, &schema_taxonomy);
	Selection	selection = {0};
	Filter	   *filter = NULL;
	Buffer		answer = {0};

	if (!body || !request_filter(request, json_get(body, "scroll_filters"), &filter))
		return;
	filter_select(&selection, request->collection, filter, NULL);
	enrich_selection(&selection);
	started[task_count++ % MAX_TASKS] = clock_wall();
	buffer_printf(&answer, "{\"task_id\":\"task_%u\",\"status\":\"PENDING\",\"collection_id\":", task_count);
	buffer_json_text(&answer, request->collection_name);
	buffer_printf(&answer, ",\"taxonomy_id\":%.*s,\"estimated_documents\":%zu}",
				  (int) json_get(body, "taxonomy_id")->length, json_get(body, "taxonomy_id")->text, selection.count);
	answer_json(request, 200, &answer);
	filter_free(filter);
	selection_free(&selection);
}

/* The status of a task that began at that time. */
static const char *
task_status(double start)
{
	static const char *const ends[] = {"COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED"};
	double		seconds = options.enrich == ENRICH_LATER ? options.enrich_delay : 0;

	return clock_wall() < start + seconds ? "PROCESSING" : ends[trait(TRAIT_TASKS_END)];
}

void
taxonomy_task(Request *request)
{
	unsigned	number;
	Buffer		answer = {0};
	const char *status;

	if (sscanf(request->document_id, "task_%u", &number) != 1 || number == 0 || number > task_count ||
		number + MAX_TASKS <= task_count)
	{
		answer_missing(request, "task", request->document_id);
		return;
	}
	status = task_status(started[(number - 1) % MAX_TASKS]);
	buffer_printf(&answer, "{\"task_id\":\"task_%u\",\"task_type\":\"api_taxonomies_materialize\",\"status\":\"%s\","
				  "\"inputs\":[],\"outputs\":[],\"additional_data\":{},\"error\":%s}", number, status,
				  *status == 'F' ? "\"The taxonomy could not be applied\"" : "null");
	answer_json(request, 200, &answer);
}
