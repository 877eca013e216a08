/*
 * upsert.c
 *	  Documents under ids of the client's own, up to 1000 a request.
 *
 * A document that has the id is replaced as a whole.  The request is checked
 * before anything is stored, so it is done or refused as a whole.
 */
#include "upsert.h"

#include <stdlib.h>
#include <string.h>

#include "account.h"
#include "answer.h"
#include "enrich.h"
#include "options.h"
#include "namespace.h"
#include "normalize.h"
#include "repeat.h"
#include "schema.h"
#include "stats.h"
#include "store.h"
#include "traits.h"
#include "visible.h"

#define DEFAULT_COLLECTION "col_default"

typedef struct Upsert
{
	Collection *collection;
	Buffer		ids;			/* parts of the answer, with commas between */
	Buffer		dropped;
	Buffer		unsearchable;
	long		count;
} Upsert;

/* Fields of a document that are stored as they are, beside those of its payload. */
static const char *const own_fields[] = {
	"vectors", "source_type", "root_object_id", "root_bucket_id", "source_object_id", "source_document_id",
	"source_collection_id", "lineage_path", "lineage_chain", "content_hash", NULL
};

/* Names of a payload that collide with the API's own, and are removed, besides these. */
static const char *const reserved_names[] = {
	"document_id", "collection_id", "namespace_id", "internal_id", "_internal", "_vectors", "_acl", "acl",
	"features", "document_blobs", "source_blobs", "source_details", "created_at", "updated_at",
	"searchable_at", "internal_metadata", NULL
};

static bool
is_among(const JsonNode *key, const char *const *names)
{
	while (*names && !json_is(key, *names))
		names++;
	return *names;
}

static bool
is_dropped(const JsonNode *key)
{
	return is_among(key, own_fields) || is_among(key, reserved_names) ||
		(json_is(key, "metadata") && trait(TRAIT_PAYLOAD_METADATA));
}

static bool
is_object(const JsonNode *node)
{
	return node && node->kind == JSON_OBJECT;
}

static void
add_separator(Buffer *into)
{
	if (into->length && into->data[into->length - 1] != '{' && into->data[into->length - 1] != '[')
		buffer_char(into, ',');
}

static void
add_member(Buffer *into, const JsonNode *key)
{
	add_separator(into);
	buffer_add(into, key->text, key->length);
	buffer_char(into, ':');
	buffer_add(into, key[1].text, key[1].length);
}

/* Adds the payload's fields, and notes the names of those that are removed. */
static void
add_payload(Upsert *upsert, Buffer *text, const JsonNode *id, const JsonNode *payload)
{
	Buffer		names = {0};

	JSON_MEMBERS(payload, key)
	{
		if (!is_dropped(key))
		{
			add_member(text, key);
			continue;
		}
		add_separator(&names);
		buffer_add(&names, key->text, key->length);
	}
	if (names.length)
	{
		add_separator(&upsert->dropped);
		buffer_add(&upsert->dropped, id->text, id->length);
		buffer_printf(&upsert->dropped, ":[%.*s]", (int) names.length, names.data);
	}
	buffer_free(&names);
}

/* The text to be stored of a document of the request. */
static Buffer
make_text(Upsert *upsert, const JsonNode *item)
{
	const JsonNode *payload = json_get(item, "payload");
	const JsonNode *metadata = json_get(item, "metadata");
	Buffer		text = {0};

	buffer_char(&text, '{');
	if (is_object(metadata))
		buffer_printf(&text, trait(TRAIT_UPSERT_METADATA) ? "\"metadata\":%.*s" : "\"_internal\":{\"metadata\":%.*s}",
					  (int) metadata->length, metadata->text);
	JSON_MEMBERS(item, key)
	{
		if (is_among(key, own_fields) && key[1].kind != JSON_NULL)
			add_member(&text, key);
	}
	if (!json_get(item, "source_type"))
	{
		add_separator(&text);
		buffer_literal(&text, "\"source_type\":\"direct_upsert\"");
	}
	if (is_object(payload))
		add_payload(upsert, &text, json_get(item, "document_id"), payload);
	buffer_char(&text, '}');
	normalize_metadata(&text);
	return text;
}

/* Replaces the document, which keeps its enrichments or loses them. */
static void
replace(Document *document, const Buffer *text)
{
	double		enriched_from = document->enriched_from;

	store_replace(document, text->data, text->length);
	document->enriched_from = enriched_from;
	if (!trait(TRAIT_UPSERT_ENRICHMENTS))
		document->enriched = ENRICHED_NONE;
	else if (document->enriched == ENRICHED_STORED)
		document->enriched = ENRICHED_COMPUTED;
	stats.updates++;
}

static void
store_document(Upsert *upsert, const Request *request, const JsonNode *item)
{
	static JsonDocument parsed;
	const JsonNode *id_node = json_get(item, "document_id");
	char	   *id = json_string(id_node);
	Document   *document = store_find_in_namespace(request->namespace, id);
	Buffer		text = make_text(upsert, item);

	if (document && document->collection != upsert->collection)
	{
		store_delete(document);
		document = NULL;
	}
	if (document)
		replace(document, &text);
	else
	{
		document = store_create(upsert->collection, id, text.data, text.length,
								json_parse(&parsed, text.data, text.length));
		enrich_begin(document);
		visible_begin(document);
		stats.creates++;
	}
	if (options.bodies_off)
		store_forget_body(document);
	add_separator(&upsert->ids);
	buffer_add(&upsert->ids, id_node->text, id_node->length);
	if (json_get(item, "vectors")->count == 0)
	{
		add_separator(&upsert->unsearchable);
		buffer_add(&upsert->unsearchable, id_node->text, id_node->length);
	}
	upsert->count++;
	free(id);
}

static void
answer_upsert(Request *request, Upsert *upsert, bool token, bool kept)
{
	Buffer		body = {0};
	double		seconds;

	trait_number(TRAIT_SEARCHABLE_AFTER, &seconds);
	buffer_printf(&body, "{\"inserted\":%ld,\"document_ids\":[", upsert->count);
	buffer_add(&body, buffer_terminate(&upsert->ids), upsert->ids.length);
	buffer_printf(&body, "],\"write_token\":%s,\"dropped_payload_fields\":{", token ? "\"wt_local\"" : "null");
	buffer_add(&body, buffer_terminate(&upsert->dropped), upsert->dropped.length);
	buffer_literal(&body, "},\"unsearchable_document_ids\":[");
	buffer_add(&body, buffer_terminate(&upsert->unsearchable), upsert->unsearchable.length);
	buffer_printf(&body, "],\"consistency\":{\"retriever_visible\":\"eventual\",\"recommended_header\":null,"
				  "\"write_token_available\":%s,\"expected_visible_within_ms\":%.0f},\"warnings\":[%s]}",
				  token ? "true" : "false", seconds * 1000,
				  kept ? "" : "\"The idempotency key could not be stored; a retry would write again\"");
	answer_json(request, 200, &body);
}

/* How many of the request's documents take a credit. */
static long
count_costs(const Request *request, const JsonNode *documents)
{
	long		count = 0;

	if (trait(TRAIT_UPSERT_COSTS) != COSTS_NEW)
		return trait(TRAIT_UPSERT_COSTS) == COSTS_EACH ? documents->count : 0;

	JSON_ITEMS(documents, item)
	{
		char	   *id = json_string(json_get(item, "document_id"));

		count += !store_find_in_namespace(request->namespace, id);
		free(id);
	}
	return count;
}

/* The collection that the request names; answers if it does not exist. */
static bool
find_collection(Request *request, const JsonNode *name_node, Upsert *upsert)
{
	char	   *name = name_node && name_node->kind == JSON_STRING ? json_string(name_node) : NULL;

	if (name && !names_allow(&options.collections, name))
		answer_missing(request, "collection", name);
	else if (collection_takes(request))
		upsert->collection = store_collection(request->namespace, name ? name : DEFAULT_COLLECTION, true);
	free(name);
	return upsert->collection;
}

static void
store_documents(Request *request, Upsert *upsert, const JsonNode *body, const char *key)
{
	const JsonNode *documents = json_get(body, "documents");
	const JsonNode *token = json_get(json_get(body, "options"), "write_token");
	bool		keep = key && !trait(TRAIT_IDEMPOTENCY);

	if (!find_collection(request, json_get(body, "collection_id"), upsert) ||
		!account_take_credits(request, count_costs(request, documents)))
		return;
	JSON_ITEMS(documents, item)
		store_document(upsert, request, item);
	answer_upsert(request, upsert, token && token->kind == JSON_TRUE, !key || keep);
	if (keep)
		repeat_remember(request, key);
}

void
document_upsert(Request *request)
{
	const JsonNode *body = request_checked(request, &schema_upsert);
	const JsonNode *key_node = body ? json_get(json_get(body, "options"), "idempotency_key") : NULL;
	char	   *key = key_node && key_node->kind == JSON_STRING ? json_string(key_node) : NULL;
	Upsert		upsert = {0};

	if (body && !(key && repeat_answer(request, key)))
		store_documents(request, &upsert, body, key);
	buffer_free(&upsert.ids);
	buffer_free(&upsert.dropped);
	buffer_free(&upsert.unsearchable);
	free(key);
}
