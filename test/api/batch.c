/*
 * batch.c
 *	  The operations on many documents: each document by itself, named by its
 *	  id, or all that a filter selects.
 */
#include "batch.h"

#include <stdlib.h>

#include "answer.h"
#include "documents.h"
#include "merge.h"
#include "render.h"
#include "schema.h"
#include "select.h"
#include "stats.h"

typedef struct Outcome
{
	Buffer		results;
	long		done;
	long		failed;
} Outcome;

static const JsonNode *
given(const JsonNode *body, const char *name)
{
	const JsonNode *value = json_get(body, name);

	return value && value->kind != JSON_NULL ? value : NULL;
}

static void
note(Outcome *outcome, const JsonNode *id, const char *error)
{
	buffer_printf(&outcome->results, "%s{\"document_id\":%.*s,\"success\":%s,\"error\":",
				  outcome->results.length ? "," : "", (int) id->length, id->text, error ? "false" : "true");
	buffer_json_text(&outcome->results, error);
	buffer_char(&outcome->results, '}');
	if (error)
		outcome->failed++;
	else
		outcome->done++;
}

static void
answer_outcome(Request *request, Outcome *outcome, const char *verb)
{
	Buffer		body = {0};

	buffer_printf(&body, "{\"%sd_count\":%ld,\"failed_count\":%ld,\"results\":[", verb, outcome->done,
				  outcome->failed);
	if (outcome->results.length)
		buffer_add(&body, outcome->results.data, outcome->results.length);
	buffer_printf(&body, "],\"message\":\"Successfully %sd %ld document(s)\"}", verb, outcome->done);
	answer_json(request, 200, &body);
	buffer_free(&outcome->results);
}

static bool
updatable(Request *request, const JsonNode *update)
{
	const char *field = merge_refused_field(update);

	if (field)
		answer_error(request, 400, NULL, "%s cannot be updated", field);
	return !field;
}

/* Updates all documents that the filters select; false where it is answered. */
static bool
update_selected(Request *request, const JsonNode *filters, const JsonNode *update, long *count)
{
	Selection	selection = {0};
	Filter	   *filter;

	if (!updatable(request, update) || !request_filter(request, filters, &filter))
		return false;
	filter_select(&selection, request->collection, filter, NULL);
	for (size_t i = 0; i < selection.count; i++)
		document_update(selection.documents[i], update, UPDATE_BATCH);
	*count = selection.count;
	stats.patches += *count;
	filter_free(filter);
	selection_free(&selection);
	return true;
}

void
bulk_update(Request *request)
{
	const JsonNode *body = request_checked(request, &schema_bulk_update);
	Buffer		answer = {0};
	long		count;

	if (!body || !update_selected(request, json_get(body, "filters"), json_get(body, "update_data"), &count))
		return;
	buffer_printf(&answer, "{\"updated_count\":%ld,\"message\":\"Documents updated successfully\"}", count);
	answer_json(request, 200, &answer);
}

static void
update_listed(Request *request, const JsonNode *updates)
{
	Outcome		outcome = {0};

	JSON_ITEMS(updates, item)
	{
		const JsonNode *id_node = json_get(item, "document_id");
		char	   *id = json_string(id_node);
		Document   *document = document_find(request, id);

		if (!document)
			note(&outcome, id_node, "Document not found");
		else if (!document_update(document, json_get(item, "update_data"), UPDATE_BATCH))
			note(&outcome, id_node, "Vectors cannot be updated");
		else
			note(&outcome, id_node, NULL);
		free(id);
	}
	stats.patches += outcome.done;
	answer_outcome(request, &outcome, "update");
}

void
batch_update(Request *request)
{
	const JsonNode *body = request_checked(request, &schema_batch_update);
	const JsonNode *updates = given(body, "updates");
	const JsonNode *filters = given(body, "filters");
	const JsonNode *update = given(body, "update_data");
	Outcome		outcome = {0};

	if (!body)
		return;
	if (updates ? (filters || update) : !(filters && update))
		answer_error(request, 400, NULL, "Either updates, or filters with update_data, must be given");
	else if (updates)
		update_listed(request, updates);
	else if (update_selected(request, filters, update, &outcome.done))
		answer_outcome(request, &outcome, "update");
}

static void
delete_listed(Request *request, const JsonNode *ids, Outcome *outcome)
{
	JSON_ITEMS(ids, item)
	{
		char	   *id = json_string(item);
		Document   *document = document_find(request, id);

		if (document)
			store_delete(document);
		note(outcome, item, document ? NULL : "Document not found");
		free(id);
	}
}

static bool
delete_selected(Request *request, const JsonNode *filters, Outcome *outcome)
{
	Selection	selection = {0};
	Filter	   *filter;

	if (!request_filter(request, filters, &filter))
		return false;
	filter_select(&selection, request->collection, filter, NULL);
	for (size_t i = 0; i < selection.count; i++)
		store_delete(selection.documents[i]);
	outcome->done = selection.count;
	filter_free(filter);
	selection_free(&selection);
	return true;
}

void
batch_delete(Request *request)
{
	const JsonNode *body = request_checked(request, &schema_batch_delete);
	const JsonNode *ids = given(body, "document_ids");
	const JsonNode *filters = given(body, "filters");
	Outcome		outcome = {0};

	if (!body)
		return;
	if (!ids == !filters)
	{
		answer_error(request, 400, NULL, "Either document_ids or filters must be given");
		return;
	}
	if (ids)
		delete_listed(request, ids, &outcome);
	else if (!delete_selected(request, filters, &outcome))
		return;
	stats.deletes += outcome.done;
	answer_outcome(request, &outcome, "delete");
}

static void
add_separated(Buffer *list, const char *bytes, size_t length)
{
	if (list->length)
		buffer_char(list, ',');
	buffer_add(list, bytes, length);
}

/* The documents of the namespace that have one of the ids, and the ids that none has. */
void
batch_get(Request *request)
{
	static JsonDocument stored;
	const JsonNode *body = request_checked(request, &schema_batch_get);
	const JsonNode *url = body ? json_get(body, "return_presigned_urls") : NULL;
	RenderOptions with = {.url = !url || url->kind != JSON_FALSE};
	Buffer		documents = {0};
	Buffer		missing = {0};
	Buffer		answer = {0};

	if (!body)
		return;
	JSON_ITEMS(json_get(body, "document_ids"), item)
	{
		char	   *id = json_string(item);
		Document   *document = document_find(request, id);
		Buffer		text = {0};

		free(id);
		if (!document)
		{
			add_separated(&missing, item->text, item->length);
			continue;
		}
		render_document(&text, document, json_parse(&stored, document->text, document->length), with);
		add_separated(&documents, text.data, text.length);
		buffer_free(&text);
		stats.gets++;
	}
	buffer_literal(&answer, "{\"documents\":[");
	buffer_add(&answer, buffer_terminate(&documents), documents.length);
	buffer_literal(&answer, "],\"not_found\":[");
	buffer_add(&answer, buffer_terminate(&missing), missing.length);
	buffer_literal(&answer, "]}");
	answer_json(request, 200, &answer);
	buffer_free(&documents);
	buffer_free(&missing);
}
