/*
 * documents.c
 *	  The operations on one document: create, get, put, patch, delete; and the
 *	  count of a collection's.
 */
#include "documents.h"

#include <string.h>

#include "account.h"
#include "answer.h"
#include "enrich.h"
#include "merge.h"
#include "normalize.h"
#include "options.h"
#include "render.h"
#include "schema.h"
#include "stats.h"
#include "traits.h"
#include "visible.h"

static JsonDocument scratch;

/* The document of that id in the request's collection or, if it names none, its namespace; or NULL. */
Document *
document_find(const Request *request, const char *id)
{
	Document   *document = request->collection_name ? store_find(request->collection, id)
		: store_find_in_namespace(request->namespace, id);

	return document && visible_by_id(document) ? document : NULL;
}

/* The document named by the path, or NULL, and 404 is answered. */
static Document *
find(Request *request)
{
	Document   *document = document_find(request, request->document_id);

	if (!document)
		answer_missing(request, "document", request->document_id);
	return document;
}

static void
answer_document(Request *request, Document *document, const JsonNode *root, RenderOptions with)
{
	Buffer		body = {0};

	if (!root)
		root = json_parse(&scratch, document->text, document->length);
	render_document(&body, document, root, with);
	answer_json(request, 200, &body);
}

/* Whether an id in the body is the path's; answers 400 if it is not. */
static bool
same_id(Request *request, const JsonNode *root, const char *field, const char *expected)
{
	const JsonNode *value = json_get(root, field);

	if (!value || value->kind == JSON_NULL || !expected || json_is(value, expected))
		return true;
	answer_error(request, 400, NULL, "%s in the body does not match the path", field);
	return false;
}

void
document_create(Request *request)
{
	const JsonNode *root = request_checked(request, schema_create());
	Document   *document;

	if (!root || !same_id(request, root, "collection_id", request->collection_name) ||
		!account_take_credits(request, 1))
		return;
	request->collection = store_collection(request->namespace, request->collection_name, true);
	if (normalize_metadata(&request->body))
		root = request_json(request);
	document = store_create(request->collection, NULL, request->body.data, request->body.length, root);
	enrich_begin(document);
	visible_begin(document);
	stats.creates++;
	answer_document(request, document, root, (RenderOptions) {0});
	request->body = (Buffer) {0};	/* the store's now */
	if (options.bodies_off)
		store_forget_body(document);
}

static bool
asks_for_vector_names(const Request *request)
{
	Buffer		value = {0};
	bool		asks = request_parameter(request, "return_vector_names", &value) && strcmp(value.data, "true") == 0;

	buffer_free(&value);
	return asks;
}

void
document_get(Request *request)
{
	bool		newer = options.contract >= CONTRACT_2026_02;
	static const JsonNode all_names = {.kind = JSON_TRUE};
	RenderOptions with = {0};
	Checker		checker;
	Document   *document;

	memset(&checker.errors, 0, sizeof(checker.errors));
	checker_begin(&checker, "query");
	with.url = request_flag(request, &checker, newer ? "return_presigned_urls" : "return_url");
	with.vectors = request_flag(request, &checker, "return_vectors");
	if (options.contract >= CONTRACT_2026_10 && asks_for_vector_names(request))
		with.vector_names = &all_names;
	if (!checker_answer(&checker, request) && (document = find(request)))
	{
		stats.gets++;
		answer_document(request, document, NULL, with);
	}
	buffer_free(&checker.errors);
}

/* Stores the enrichments with the metadata, where that is their place, from now on. */
static void
store_enrichments(Document *document)
{
	static JsonDocument parsed;
	const JsonNode *stored = json_parse(&scratch, document->text, document->length);
	Buffer		enrichments = {0};
	Buffer		update = {0};
	Buffer		text = {0};

	enrich_render_flat(&enrichments, document, stored);
	buffer_literal(&update, "{\"metadata\":{");
	buffer_add(&update, enrichments.data + 1, enrichments.length - 1);
	buffer_literal(&update, "}}");
	merge_metadata(&text, stored, json_parse(&parsed, update.data, update.length));
	store_replace(document, text.data, text.length);
	document->enriched = ENRICHED_STORED;
	buffer_free(&enrichments);
	buffer_free(&update);
}

static void
merge_update(Buffer *text, const JsonNode *stored, const JsonNode *update, UpdateKind kind)
{
	if (kind == UPDATE_BATCH)
		merge_paths(text, stored, update, trait(TRAIT_BATCH_FIELDS));
	else if (kind == UPDATE_PATCH && trait(TRAIT_PATCH) == 1)
		merge_paths(text, stored, update, false);
	else if (kind == UPDATE_PATCH || trait(TRAIT_PUT))
		merge_metadata(text, stored, update);
	else
		merge_replace(text, stored, update);
}

/* Works the update in; false where it changes what no update may change. */
bool
document_update(Document *document, const JsonNode *update, UpdateKind kind)
{
	Buffer		text = {0};

	if (merge_refused_field(update))
		return false;
	if (trait(TRAIT_ENRICHMENTS_AT) == ENRICHMENTS_METADATA && enrich_ready(document))
		store_enrichments(document);
	merge_update(&text, json_parse(&scratch, document->text, document->length), update, kind);
	normalize_metadata(&text);
	store_replace(document, text.data, text.length);
	if (document->enriched == ENRICHED_NONE)
		enrich_begin(document);
	return true;
}

static void
update(Request *request, UpdateKind kind)
{
	const JsonNode *root = request_checked(request, schema_update());
	Document   *document;

	if (!root || !(document = find(request)))
		return;
	if (!same_id(request, root, "document_id", document->id) ||
		!same_id(request, root, "collection_id", request->collection_name))
		return;
	if (!document_update(document, root, kind))
	{
		answer_error(request, 400, NULL, "%s cannot be updated", merge_refused_field(root));
		return;
	}
	if (kind == UPDATE_PATCH)
		stats.patches++;
	else
		stats.updates++;
	answer_document(request, document, NULL, (RenderOptions) {0});
	if (options.bodies_off)
		store_forget_body(document);
}

void
document_put(Request *request)
{
	update(request, UPDATE_PUT);
}

void
document_patch(Request *request)
{
	update(request, UPDATE_PATCH);
}

void
document_delete(Request *request)
{
	Document   *document = find(request);
	Buffer		body = {0};

	if (!document)
		return;
	store_delete(document);
	stats.deletes++;
	buffer_literal(&body, "{\"message\":\"Successfully deleted\",\"success\":true}");
	answer_json(request, 200, &body);
}

void
document_count(Request *request)
{
	Buffer		body = {0};
	size_t		count = 0;

	for (const Document *d = request->collection ? request->collection->first : NULL; d; d = d->next)
		count += visible_in_lists(d);
	buffer_literal(&body, "{\"collection_id\":");
	buffer_json_text(&body, request->collection_name);
	buffer_printf(&body, ",\"count\":%zu}", count);
	answer_json(request, 200, &body);
}
