/*
 * render.c
 *	  A stored document as the contract's DocumentResponse.  Values that came
 *	  from the client are copied as they were written.
 */
#include "render.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "enrich.h"
#include "options.h"

#define URL_BASE "https://storage.mixpeek.test/"

/* Stored root fields which are not copied to the answer's root. */
static const char *const own_2025_09[] = {
	"document_id", "collection_id", "source_details", "enrichments", "source_blobs", "internal_metadata",
	"metadata", "features", "vector", "presigned_url", NULL
};
static const char *const own_2026_02[] = {
	"document_id", "collection_id", "document_blobs", "_internal", "features", "cluster_id",
	"cluster_distance", NULL
};

static void
add_value(Buffer *into, const JsonNode *value)
{
	buffer_add(into, value->text, value->length);
}

static void
add_presigned_url(Buffer *into, const Document *document, const char *suffix)
{
	buffer_printf(into, "\"" URL_BASE "%s%s?X-Amz-Expires=3600&X-Amz-Signature=%016llx\"",
				  document->id, suffix, (unsigned long long) document->by_id.hash);
}

static void
add_others(Buffer *into, const JsonNode *root, const char *const *own)
{
	JSON_MEMBERS(root, key)
	{
		int			i = 0;

		while (own[i] && !json_is(key, own[i]))
			i++;
		if (own[i])
			continue;
		buffer_char(into, ',');
		add_value(into, key);
		buffer_char(into, ':');
		add_value(into, &key[1]);
	}
}

/* The first of the features' vectors which is a plain list of numbers. */
static const JsonNode *
first_vector(const JsonNode *features)
{
	if (features && features->kind == JSON_ARRAY)
		JSON_ITEMS(features, feature)
	{
		const JsonNode *vectors = json_get(feature, "vectors");

		if (vectors && vectors->kind == JSON_OBJECT && !json_get(vectors, "indices"))
			JSON_MEMBERS(vectors, key)
		{
			if (key[1].kind == JSON_ARRAY && (!key[1].count || key[2].kind == JSON_NUMBER))
				return &key[1];
		}
	}
	return NULL;
}

/* All blobs of all source_details in one list. */
static void
add_source_blobs(Buffer *into, const JsonNode *root)
{
	const JsonNode *details = json_get(root, "source_details");
	const JsonNode *set = json_get(root, "source_blobs");
	size_t		start;

	if (set)
	{
		add_value(into, set);
		return;
	}
	buffer_char(into, '[');
	start = into->length;
	if (details && details->kind == JSON_ARRAY)
		JSON_ITEMS(details, detail)
	{
		const JsonNode *blobs = json_get(detail, "source_blobs");

		if (blobs && blobs->kind == JSON_ARRAY)
			JSON_ITEMS(blobs, blob)
		{
			if (into->length > start)
				buffer_char(into, ',');
			add_value(into, blob);
		}
	}
	buffer_char(into, ']');
}

static void
add_identity(Buffer *into, const Document *document)
{
	buffer_literal(into, "{\"document_id\":\"");
	buffer_add(into, document->id, DOCUMENT_ID_LENGTH);
	buffer_literal(into, "\",\"collection_id\":");
	buffer_json_text(into, document->collection->name);
}

static void
render_2025_09(Buffer *into, const Document *document, const JsonNode *root, RenderOptions with)
{
	const JsonNode *details = json_get(root, "source_details");
	const JsonNode *metadata = json_get(root, "metadata");
	const JsonNode *internal = json_get(root, "internal_metadata");
	const JsonNode *vector = with.vectors ? first_vector(json_get(root, "features")) : NULL;

	add_identity(into, document);
	buffer_literal(into, ",\"source_details\":");
	if (details)
		add_value(into, details);
	else
		buffer_literal(into, "null");
	buffer_literal(into, ",\"enrichments\":");
	enrich_render(into, document, root);
	buffer_literal(into, ",\"source_blobs\":");
	add_source_blobs(into, root);
	buffer_literal(into, ",\"internal_metadata\":");
	if (internal)
		add_value(into, internal);
	else
		buffer_literal(into, "{}");
	buffer_literal(into, ",\"metadata\":");
	if (metadata && metadata->kind == JSON_OBJECT)
		add_value(into, metadata);
	else
		buffer_literal(into, "{}");
	add_others(into, root, own_2025_09);
	buffer_literal(into, ",\"vector\":");
	if (vector)
		add_value(into, vector);
	else
		buffer_literal(into, "null");
	buffer_literal(into, ",\"presigned_url\":");
	if (with.url)
		add_presigned_url(into, document, "");
	else
		buffer_literal(into, "null");
	buffer_char(into, '}');
}

static void
add_time(Buffer *into, const char *name, double when)
{
	time_t		seconds = (time_t) when;
	struct tm	parts;
	char		text[64];

	gmtime_r(&seconds, &parts);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
	buffer_printf(into, "%s%s.%06ldZ\"", name, text, (long) ((when - floor(when)) * 1e6));
}

/* document_blobs, with a presigned URL in each if asked for. */
static void
add_document_blobs(Buffer *into, const Document *document, const JsonNode *blobs, bool url)
{
	int			number = 0;

	buffer_literal(into, ",\"document_blobs\":[");
	if (blobs)
		JSON_ITEMS(blobs, blob)
	{
		char		suffix[32] = "/";

		if (number)
			buffer_char(into, ',');
		buffer_add(into, blob->text, blob->length - 1);
		suffix[1] = 'a' + number++ % 26;
		if (url && !json_get(blob, "presigned_url"))
		{
			buffer_literal(into, ",\"presigned_url\":");
			add_presigned_url(into, document, suffix);
		}
		buffer_char(into, '}');
	}
	buffer_char(into, ']');
}

static void
add_lineage(Buffer *into, const JsonNode *root)
{
	static const char *const names[][2] = {
		{"root_object_id", "root_object_id"}, {"root_bucket_id", "root_bucket_id"},
		{"source_type", "source_type"}, {"source_object_id", "source_object_id"},
		{"source_document_id", "source_document_id"}, {"source_collection_id", "source_collection_id"},
		{"lineage_path", "path"}, {"lineage_chain", "chain"}
	};
	const char *separator = "";

	buffer_literal(into, ",\"lineage\":{");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		const JsonNode *value = json_get(root, names[i][0]);

		if (!value)
			continue;
		buffer_text(into, separator);
		buffer_char(into, '"');
		buffer_text(into, names[i][1]);
		buffer_literal(into, "\":");
		add_value(into, value);
		separator = ",";
	}
	buffer_char(into, '}');
}

static void
add_internal(Buffer *into, const Document *document, const JsonNode *root)
{
	buffer_literal(into, ",\"_internal\":{\"internal_id\":\"org_local\",\"namespace_id\":");
	buffer_json_text(into, document->collection->namespace);
	buffer_literal(into, ",\"document_id\":\"");
	buffer_add(into, document->id, DOCUMENT_ID_LENGTH);
	buffer_literal(into, "\",\"collection_id\":");
	buffer_json_text(into, document->collection->name);
	add_time(into, ",\"created_at\":\"", document->created_at);
	add_time(into, ",\"updated_at\":\"", document->updated_at);
	add_lineage(into, root);
	buffer_literal(into, ",\"metadata\":{\"ingestion_status\":\"COMPLETED\"}}");
}

static void
render_2026_02(Buffer *into, const Document *document, const JsonNode *root, RenderOptions with)
{
	const JsonNode *blobs = json_get(root, "document_blobs");
	const JsonNode *features = json_get(root, "features");

	add_identity(into, document);
	add_others(into, root, own_2026_02);
	enrich_render_flat(into, document, root);
	add_document_blobs(into, document, blobs, with.url);
	if (with.vectors && features)
	{
		buffer_literal(into, ",\"features\":");
		add_value(into, features);
	}
	add_internal(into, document, root);
	buffer_char(into, '}');
}

/* Root is the document's parsed text. */
void
render_document(Buffer *into, const Document *document, const JsonNode *root, RenderOptions with)
{
	buffer_reserve(into, document->length * 2 + 768);
	if (options.contract == CONTRACT_2026_02)
		render_2026_02(into, document, root, with);
	else
		render_2025_09(into, document, root, with);
}

/* The document as it is stored, with its id as the first member. */
void
render_stored(Buffer *into, const Document *document)
{
	const char *members = memchr(document->text, '{', document->length);

	members++;
	buffer_printf(into, "{\"document_id\":\"%s\",", document->id);
	buffer_add(into, members, document->text + document->length - members);
}
