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
#include "traits.h"
#include "visible.h"

#define URL_BASE "https://storage.mixpeek.test/"

/* Stored root fields which are not copied to the answer's root. */
static const char *const own_2025_09[] = {
	"document_id", "collection_id", "source_details", "enrichments", "source_blobs", "internal_metadata",
	"metadata", "features", "vector", "presigned_url", NULL
};
static const char *const own_2026_02[] = {
	"document_id", "collection_id", "document_blobs", "_internal", "features", "cluster_id",
	"cluster_distance", "metadata", NULL
};
static const char *const own_2026_10[] = {
	"document_id", "collection_id", "document_blobs", "_internal", "features", "cluster_id",
	"cluster_distance", "metadata", "vectors", "searchable_at", "content_hash", "source_type",
	"root_object_id", "root_bucket_id", "source_object_id", "source_document_id", "source_collection_id",
	"lineage_path", "lineage_chain", NULL
};

/* What own_2026_10 has of lineage; filters find it at the root all the same. */
static const char *const lineage[][2] = {
	{"root_object_id", "root_object_id"}, {"root_bucket_id", "root_bucket_id"},
	{"source_type", "source_type"}, {"source_object_id", "source_object_id"},
	{"source_document_id", "source_document_id"}, {"source_collection_id", "source_collection_id"},
	{"lineage_path", "path"}, {"lineage_chain", "chain"}
};

#define LINEAGE_FIELDS (sizeof(lineage) / sizeof(lineage[0]))

static void
add_value(Buffer *into, const JsonNode *value)
{
	buffer_add(into, value->text, value->length);
}

static void
add_presigned_url(Buffer *into, const Document *document, const char *suffix)
{
	buffer_printf(into, "\"" URL_BASE "%s%s?X-Amz-Expires=3600&X-Amz-Signature=%016llx\"",
				  document->id, suffix, (unsigned long long) document->links[INDEX_ID].hash);
}

static bool
is_among(const JsonNode *key, const char *const *names)
{
	while (*names && !json_is(key, *names))
		names++;
	return *names;
}

static void
add_member(Buffer *into, const JsonNode *key)
{
	buffer_char(into, ',');
	add_value(into, key);
	buffer_char(into, ':');
	add_value(into, &key[1]);
}

static void
add_others(Buffer *into, const JsonNode *object, const char *const *own)
{
	JSON_MEMBERS(object, key)
	{
		if (!is_among(key, own))
			add_member(into, key);
	}
}

/* Where metadata is to stand. */
static int
metadata_place(RenderOptions with)
{
	return trait(with.filtering && trait(TRAIT_FILTER_AT) != AT_SHOWN ? TRAIT_FILTER_AT : TRAIT_METADATA_AT);
}

/*
 * The document's own metadata as members, each with a comma before, that are
 * to stand there.  An upsert has stored some for _internal alone; a filter that
 * does not see what answers show sees all in one place.
 */
static void
add_metadata_at(Buffer *into, const Document *document, const JsonNode *root, RenderOptions with, int place,
				const char *const *reserved)
{
	static const char *const none[] = {NULL};
	const JsonNode *metadata = json_get(root, "metadata");
	const JsonNode *internal = json_get(json_get(root, "_internal"), "metadata");
	bool		shown = !with.filtering || trait(TRAIT_FILTER_AT) == AT_SHOWN;

	if (metadata && metadata->kind == JSON_OBJECT && place == metadata_place(with))
		add_others(into, metadata, reserved ? reserved : none);
	if (internal && place == (shown ? AT_INTERNAL : metadata_place(with)))
		add_others(into, internal, reserved ? reserved : none);
	if (trait(TRAIT_ENRICHMENTS_AT) == ENRICHMENTS_METADATA && place == metadata_place(with))
		enrich_render_flat(into, document, root);
}

/* The field metadata: where it is not to have any, only if the document must have the field. */
static void
add_metadata(Buffer *into, const Document *document, const JsonNode *root, RenderOptions with, bool must)
{
	static Buffer members;

	members.length = 0;
	add_metadata_at(&members, document, root, with, AT_METADATA, NULL);
	if (!members.length && !must && !(json_get(root, "metadata") && metadata_place(with) == AT_METADATA))
		return;
	buffer_literal(into, ",\"metadata\":{");
	if (members.length)
		buffer_add(into, members.data + 1, members.length - 1);
	buffer_char(into, '}');
}

/* The enrichments that stand outside of metadata; a field for them where the document must have one. */
static void
add_enrichments(Buffer *into, const Document *document, const JsonNode *root, bool must)
{
	int			place = trait(TRAIT_ENRICHMENTS_AT);

	if (place == ENRICHMENTS_ROOT)
		enrich_render_flat(into, document, root);
	if (place == ENRICHMENTS_OBJECT)
	{
		buffer_literal(into, ",\"enrichments\":");
		enrich_render(into, document, root);
	}
	else if (must)
		buffer_literal(into, ",\"enrichments\":{\"clusters\":[],\"taxonomies\":[]}");
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
	buffer_literal(into, "{\"document_id\":");
	buffer_json_text(into, document->id);
	buffer_literal(into, ",\"collection_id\":");
	buffer_json_text(into, document->collection->name);
}

/* The field _internal of a contract that has none. */
static void
add_internal_metadata(Buffer *into, const Document *document, const JsonNode *root, RenderOptions with)
{
	buffer_literal(into, ",\"_internal\":{\"metadata\":{\"ingestion_status\":\"COMPLETED\"");
	add_metadata_at(into, document, root, with, AT_INTERNAL, NULL);
	buffer_literal(into, "}}");
}

static void
render_2025_09(Buffer *into, const Document *document, const JsonNode *root, RenderOptions with)
{
	const JsonNode *details = json_get(root, "source_details");
	const JsonNode *internal = json_get(root, "internal_metadata");
	const JsonNode *vector = with.vectors ? first_vector(json_get(root, "features")) : NULL;

	add_identity(into, document);
	buffer_literal(into, ",\"source_details\":");
	if (details)
		add_value(into, details);
	else
		buffer_literal(into, "null");
	add_enrichments(into, document, root, true);
	buffer_literal(into, ",\"source_blobs\":");
	add_source_blobs(into, root);
	buffer_literal(into, ",\"internal_metadata\":");
	if (internal)
		add_value(into, internal);
	else
		buffer_literal(into, "{}");
	add_metadata(into, document, root, with, true);
	add_metadata_at(into, document, root, with, AT_ROOT, own_2025_09);
	if (metadata_place(with) == AT_INTERNAL)
		add_internal_metadata(into, document, root, with);
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
	const char *separator = "";

	buffer_literal(into, ",\"lineage\":{");
	for (size_t i = 0; i < LINEAGE_FIELDS; i++)
	{
		const JsonNode *value = json_get(root, lineage[i][0]);

		if (!value || value->kind == JSON_NULL)
			continue;
		buffer_text(into, separator);
		buffer_char(into, '"');
		buffer_text(into, lineage[i][1]);
		buffer_literal(into, "\":");
		add_value(into, value);
		separator = ",";
	}
	buffer_char(into, '}');
}

static void
add_internal(Buffer *into, const Document *document, const JsonNode *root, RenderOptions with)
{
	const JsonNode *hash = json_get(root, "content_hash");

	buffer_literal(into, ",\"_internal\":{\"internal_id\":\"org_local\",\"namespace_id\":");
	buffer_json_text(into, document->collection->namespace);
	buffer_literal(into, ",\"document_id\":");
	buffer_json_text(into, document->id);
	buffer_literal(into, ",\"collection_id\":");
	buffer_json_text(into, document->collection->name);
	add_time(into, ",\"created_at\":\"", document->created_at);
	add_time(into, ",\"updated_at\":\"", document->updated_at);
	if (hash && options.contract >= CONTRACT_2026_10)
	{
		buffer_literal(into, ",\"content_hash\":");
		add_value(into, hash);
	}
	add_lineage(into, root);
	buffer_literal(into, ",\"metadata\":{\"ingestion_status\":\"COMPLETED\"");
	add_metadata_at(into, document, root, with, AT_INTERNAL, NULL);
	buffer_literal(into, "}}");
}

/* The names of the document's vectors, or those that are wanted by name. */
static void
add_vector_names(Buffer *into, const JsonNode *vectors, const JsonNode *wanted)
{
	bool		names = wanted->kind == JSON_TRUE;
	size_t		start;

	buffer_literal(into, ",\"_vectors\":");
	buffer_char(into, names ? '[' : '{');
	start = into->length;
	if (vectors && vectors->kind == JSON_OBJECT)
		JSON_MEMBERS(vectors, key)
	{
		bool		found = names;

		if (wanted->kind == JSON_ARRAY)
			JSON_ITEMS(wanted, item)
				found = found || (item->length == key->length && memcmp(item->text, key->text, key->length) == 0);
		if (!found)
			continue;
		if (names)
			buffer_char(into, ',');
		if (names)
			add_value(into, key);
		else
			add_member(into, key);
	}
	if (into->length > start)
	{
		memmove(into->data + start, into->data + start + 1, into->length - start - 1);
		into->length--;
	}
	buffer_char(into, names ? ']' : '}');
}

static void
add_vectors(Buffer *into, const JsonNode *root, RenderOptions with)
{
	static const char *const names[] = {"features", "vectors"};

	for (int i = 0; with.vectors && i < 2; i++)
		if (json_get(root, names[i]) && (i == 0 || options.contract >= CONTRACT_2026_10))
		{
			buffer_printf(into, ",\"%s\":", names[i]);
			add_value(into, json_get(root, names[i]));
		}
	if (with.vector_names && with.vector_names->kind != JSON_FALSE)
		add_vector_names(into, json_get(root, "vectors"), with.vector_names);
}

static void
add_searchable_at(Buffer *into, const Document *document)
{
	double		when;

	if (visible_since(document, &when))
		add_time(into, ",\"searchable_at\":\"", when);
	else
		buffer_literal(into, ",\"searchable_at\":null");
}

static void
render_2026(Buffer *into, const Document *document, const JsonNode *root, RenderOptions with)
{
	bool		newest = options.contract >= CONTRACT_2026_10;
	const char *const *own = newest ? own_2026_10 : own_2026_02;

	add_identity(into, document);
	add_others(into, root, own);
	add_metadata(into, document, root, with, false);
	add_metadata_at(into, document, root, with, AT_ROOT, own);
	add_enrichments(into, document, root, false);
	add_document_blobs(into, document, json_get(root, "document_blobs"), with.url);
	add_vectors(into, root, with);
	for (size_t i = 0; newest && with.filtering && i < LINEAGE_FIELDS; i++)
		if (json_get(root, lineage[i][0]))
			add_member(into, json_get(root, lineage[i][0]) - 1);
	if (newest)
		add_searchable_at(into, document);
	add_internal(into, document, root, with);
	buffer_char(into, '}');
}

/* Root is the document's parsed text. */
void
render_document(Buffer *into, const Document *document, const JsonNode *root, RenderOptions with)
{
	buffer_reserve(into, document->length * 2 + 768);
	if (options.contract == CONTRACT_2025_09)
		render_2025_09(into, document, root, with);
	else
		render_2026(into, document, root, with);
}

/* The document as it is stored, with its id as the first member. */
void
render_stored(Buffer *into, const Document *document)
{
	const char *members = memchr(document->text, '{', document->length);

	members++;
	buffer_literal(into, "{\"document_id\":");
	buffer_json_text(into, document->id);
	if (members[strspn(members, " \t\r\n")] != '}')
		buffer_char(into, ',');
	buffer_add(into, members, document->text + document->length - members);
}
