/*
 * enrich.c
 *	  Enrichments made up from the metadata: of metadata.section, if that is a
 *	  string (a Debian package's section, say), else of all metadata but the
 *	  extension's marker.  A document that an upsert has given no metadata is
 *	  taken for metadata itself.
 */
#include "enrich.h"

#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "timer.h"
#include "traits.h"

#define CLUSTERS 8

typedef struct Enrichment
{
	uint64_t	hash;
	const JsonNode *section;	/* NULL: none */
	const char *topic;			/* where there is no section */
} Enrichment;

static const char *const topics[] = {
	"electronics", "books", "music", "travel", "food", "sports", "health", "finance",
	"science", "fashion", "games", "garden", "vehicles", "education", "animals", "art"
};

static uint64_t
hash_bytes(uint64_t hash, const char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (unsigned char) bytes[i]) * 0x100000001B3ULL;
	return hash;
}

/* What a document is enriched from: its metadata or, without any, all of it. */
static const JsonNode *
content_of(const JsonNode *root)
{
	const JsonNode *metadata = json_get(root, "metadata");

	if (!metadata)
		metadata = json_get(json_get(root, "_internal"), "metadata");
	return metadata ? metadata : root;
}

static void
enrich(Enrichment *e, const JsonNode *root)
{
	const JsonNode *metadata = content_of(root);

	e->hash = 0xCBF29CE484222325ULL;
	e->section = json_get(metadata, "section");
	if (e->section && e->section->kind == JSON_STRING)
		e->hash = hash_bytes(e->hash, e->section->text, e->section->length);
	else
	{
		e->section = NULL;
		if (metadata && metadata->kind == JSON_OBJECT)
			JSON_MEMBERS(metadata, key)
		{
			if (json_is(key, MARKER_FIELD))
				continue;
			e->hash = hash_bytes(e->hash, key->text, key->length);
			e->hash = hash_bytes(e->hash, key[1].text, key[1].length);
		}
	}
	e->hash ^= e->hash >> 31;
	e->topic = topics[e->hash % 16];
}

/* Four decimals, derived from some bits of the hash, from low to low + 0.4999. */
static void
add_fraction(Buffer *into, const char *name, const Enrichment *e, int shift, int low)
{
	int			value = low + (int) ((e->hash >> shift) % 5000);

	buffer_text(into, name);
	buffer_literal(into, "0.");
	for (int unit = 1000; unit; unit /= 10)
		buffer_char(into, '0' + value / unit % 10);
}

/* The label's characters as they stand in JSON, without the quotes. */
static void
add_label(Buffer *into, const Enrichment *e)
{
	if (e->section)
		buffer_add(into, e->section->text + 1, e->section->length - 2);
	else
		buffer_text(into, e->topic);
}

static void
add_cluster_id(Buffer *into, const Enrichment *e)
{
	buffer_literal(into, "\"cluster_id\":\"cluster_00");
	buffer_char(into, '0' + e->hash % CLUSTERS);
	buffer_char(into, '"');
}

static void
add_cluster(Buffer *into, const Enrichment *e, const Document *document)
{
	buffer_char(into, '{');
	add_cluster_id(into, e);
	buffer_literal(into, ",\"coordinates\":[");
	for (int i = 0; i < 3; i++)
		add_fraction(into, i ? "," : "", e, 8 + 5 * i, 0);
	add_fraction(into, "],\"distance_to_centroid\":", e, 24, 0);
	buffer_literal(into, ",\"document_id\":");
	buffer_json_text(into, document->id);
	buffer_literal(into, ",\"features\":{\"category\":\"");
	add_label(into, e);
	buffer_literal(into, "\"},\"source_details\":{\"type\":\"collection\",\"source_id\":");
	buffer_json_text(into, document->collection->name);
	buffer_literal(into, "}}");
}

static void
add_taxonomy(Buffer *into, const Enrichment *e)
{
	const char *name = e->section ? "debian" : "topics";

	buffer_literal(into, "{\"taxonomy_id\":\"tax_");
	buffer_text(into, name);
	buffer_literal(into, "\",\"node_id\":\"node_");
	buffer_text(into, name);
	buffer_char(into, '_');
	add_label(into, e);
	buffer_literal(into, "\",\"path\":[\"");
	buffer_text(into, name);
	buffer_literal(into, "\",\"");
	add_label(into, e);
	buffer_literal(into, "\"],\"label\":\"");
	add_label(into, e);
	add_fraction(into, "\",\"score\":", e, 20, 5000);
	buffer_char(into, '}');
}

/* The document is new: it is enriched from now on, unless by something else. */
void
enrich_begin(Document *document)
{
	document->enriched = trait(TRAIT_ENRICHED_BY) ? ENRICHED_NONE : ENRICHED_COMPUTED;
}

/* Whether the enrichments are there by now, and neither stored with the document nor removed. */
bool
enrich_ready(const Document *document)
{
	if (document->enriched != ENRICHED_COMPUTED)
		return false;
	if (options.enrich == ENRICH_LATER)
		return clock_wall() >= document->enriched_from + options.enrich_delay;
	return options.enrich == ENRICH_NOW;
}

/* The 2025-09 object; empty lists where nothing is there yet. */
void
enrich_render(Buffer *into, const Document *document, const JsonNode *root)
{
	Enrichment	e;

	if (!enrich_ready(document))
	{
		buffer_literal(into, "{\"clusters\":[],\"taxonomies\":[]}");
		return;
	}
	enrich(&e, root);
	buffer_literal(into, "{\"clusters\":[");
	add_cluster(into, &e, document);
	buffer_literal(into, "],\"taxonomies\":[");
	add_taxonomy(into, &e);
	buffer_literal(into, "]}");
}

/* The fields since 2026-02, each with a comma before; nothing if not there yet. */
void
enrich_render_flat(Buffer *into, const Document *document, const JsonNode *root)
{
	Enrichment	e;
	const char *name;

	if (!enrich_ready(document))
		return;
	enrich(&e, root);
	name = e.section ? "debian" : "topics";
	buffer_literal(into, ",\"taxonomy_");
	buffer_text(into, name);
	buffer_literal(into, "_label\":\"");
	add_label(into, &e);
	buffer_literal(into, "\",\"taxonomy_");
	buffer_text(into, name);
	add_fraction(into, "_score\":", &e, 20, 5000);
	buffer_char(into, ',');
	add_cluster_id(into, &e);
	add_fraction(into, ",\"cluster_distance\":", &e, 24, 0);
}
