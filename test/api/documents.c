/*
 * documents.c
 *	  The operations on one document: create, get, put, patch, delete.
 */
#include "documents.h"

#include <string.h>

#include "answer.h"
#include "merge.h"
#include "options.h"
#include "render.h"
#include "schema.h"
#include "stats.h"

static JsonDocument scratch;

/* The document named by the path, or NULL, and 404 is answered. */
static Document *
find(Request *request)
{
	Document   *document = store_find(request->collection, request->document_id);
	Buffer		details = {0};

	if (document)
		return document;
	buffer_literal(&details, "{\"resource\":\"document\",\"id\":");
	buffer_json_text(&details, request->document_id);
	buffer_char(&details, '}');
	answer_error(request, 404, buffer_terminate(&details), "Document not found");
	buffer_free(&details);
	return NULL;
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

	if (!value || json_is(value, expected))
		return true;
	answer_error(request, 400, NULL, "%s in the body does not match the path", field);
	return false;
}

void
document_create(Request *request)
{
	const JsonNode *root = request_checked(request, schema_create());
	Document   *document;

	if (!root || !same_id(request, root, "collection_id", request->collection_name))
		return;
	request->collection = store_collection(request->namespace, request->collection_name, true);
	document = store_create(request->collection, request->body.data, request->body.length, root);
	stats.creates++;
	answer_document(request, document, root, (RenderOptions) {0});
	request->body = (Buffer) {0};	/* the store's now */
	if (options.bodies_off)
		store_forget_body(document);
}

void
document_get(Request *request)
{
	bool		new_contract = options.contract == CONTRACT_2026_02;
	RenderOptions with;
	Checker		checker;
	Document   *document;

	memset(&checker.errors, 0, sizeof(checker.errors));
	checker_begin(&checker, "query");
	with.url = request_flag(request, &checker, new_contract ? "return_presigned_urls" : "return_url");
	with.vectors = request_flag(request, &checker, "return_vectors");
	if (!checker_answer(&checker, request) && (document = find(request)))
	{
		stats.gets++;
		answer_document(request, document, NULL, with);
	}
	buffer_free(&checker.errors);
}

/* Works the update in; false where it changes what no update may change. */
bool
document_update(Document *document, const JsonNode *update, bool partial)
{
	Buffer		text = {0};
	const JsonNode *stored = json_parse(&scratch, document->text, document->length);

	if (merge_refused_field(update))
		return false;
	if (partial)
		merge_partial(&text, stored, update);
	else
		merge_replace(&text, stored, update);
	store_replace(document, text.data, text.length);
	return true;
}

static void
update(Request *request, bool partial)
{
	const JsonNode *root = request_checked(request, schema_update());
	Document   *document;

	if (!root || !(document = find(request)))
		return;
	if (!same_id(request, root, "document_id", document->id) ||
		!same_id(request, root, "collection_id", request->collection_name))
		return;
	if (!document_update(document, root, partial))
	{
		answer_error(request, 400, NULL, "%s cannot be updated", merge_refused_field(root));
		return;
	}
	if (partial)
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
	update(request, false);
}

void
document_patch(Request *request)
{
	update(request, true);
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
