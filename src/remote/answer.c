/*-------------------------------------------------------------------------
 *
 * answer.c
 *		What the worker takes from an answer: a document's id, its marker and its
 *		enrichments.
 *
 * An answer has whatever the other side likes: it is run over, and the parts that are
 * wanted become values one by one.  A document whose enrichments are too much, or
 * cannot be jsonb, is there all the same.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "remote/answer.h"
#include "remote/marker.h"
#include "remote/response.h"

/* Bytes; the ids are indexed, and an index holds no more than some 2,700. */
#define MAX_DOCUMENT_ID	1000

/* Bytes of a string, as it is written, that is worth being looked at: a marker of ours is shorter. */
#define MAX_STRING		65536

static const JsonBounds enrichment_bounds = {MAX_ENRICHMENT_DEPTH, MAX_ENRICHMENT_VALUES, MAX_ENRICHMENT_BYTES};

/* Root-level fields of an answer that are not enrichments (both contracts). */
static const char *const system_fields[] = {
	"document_id", "collection_id", "source_details", "source_blobs", "document_blobs",
	"internal_metadata", "metadata", "vector", "vectors", "features", "presigned_url",
	"presigned_urls", "_internal", "root_object_id", "root_bucket_id", "source_type",
	"source_collection_id", "source_document_id", "source_object_id", "lineage_path",
	"lineage_chain", "document_schema_version", "enrichments", NULL
};

/* The members of a document that count; start is NULL where there is none. */
typedef struct Members
{
	JsonText	document_id;
	JsonText	marker;			/* 2026-02 may flatten metadata */
	JsonText	metadata;
	JsonText	enrichments;
	StringInfoData fields;		/* 2026-02's enrichments: an object that lacks
								 * its last bracket */
	JsonText	measure;		/* of that */
} Members;

bool
answer_is_utf8(const HttpAnswer *answer)
{
	return (size_t) pg_encoding_verifymbstr(PG_UTF8, answer->body, (int) answer->body_len) == answer->body_len;
}

/* A string as text in the database encoding, palloc'd; NULL if it is none or too long. */
static char *
string_text(const JsonText *string)
{
	size_t		len = string->end - string->start;
	bool		plain = GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII;
	char	   *error;
	Jsonb	   *json;
	JsonbValue	value;

	if (string->start == NULL || *string->start != '"' || len > MAX_STRING)
		return NULL;
	if (plain && memchr(string->start, '\\', len) == NULL)
		return pnstrdup(string->start + 1, len - 2);
	json = response_parse_utf8(string->start, len, &error);
	if (json == NULL || !JsonbExtractScalar(&json->root, &value) || value.type != jbvString)
		return NULL;
	return pnstrdup(value.val.string.val, value.val.string.len);
}

/* A step within a path is no id, nor is what no index has room for. */
static char *
document_id_text(const JsonText *string)
{
	char	   *id = string_text(string);

	if (id == NULL || id[0] == '\0' || strcmp(id, ".") == 0 || strcmp(id, "..") == 0 ||
		strlen(id) > MAX_DOCUMENT_ID)
		return NULL;
	return id;
}

static bool
is_system_field(const JsonText *name)
{
	for (int i = 0; system_fields[i]; i++)
	{
		if (scan_string_is(name, system_fields[i]))
			return true;
	}
	return false;
}

static const char *
name_in_utf8(const char *name)
{
	return GetDatabaseEncoding() == PG_SQL_ASCII ? name : pg_server_to_any(name, strlen(name), PG_UTF8);
}

static bool
is_sent(const JsonText *name, List *sent)
{
	ListCell   *lc;

	foreach(lc, sent)
	{
		if (scan_string_is(name, name_in_utf8(lfirst(lc))))
			return true;
	}
	return false;
}

/* A root-level field that is an enrichment; of too many, or too large ones, no more than shows that. */
static void
add_field(Members *members, const JsonText *name, const JsonText *value)
{
	JsonText   *measure = &members->measure;

	measure->depth = Max(measure->depth, value->depth + 1);
	measure->values += value->values + 1;
	measure->scalars += value->scalars;
	measure->written += value->written + (name->end - name->start) + 2;
	if (measure->written > MAX_ENRICHMENT_BYTES)
		return;
	if (members->fields.data == NULL)
		initStringInfo(&members->fields);
	appendStringInfoChar(&members->fields, members->fields.len == 0 ? '{' : ',');
	appendBinaryStringInfo(&members->fields, name->start, name->end - name->start);
	appendStringInfoChar(&members->fields, ':');
	appendBinaryStringInfo(&members->fields, value->start, value->end - value->start);
}

static void
take_member(Members *members, const JsonText *name, const JsonText *value, List *sent)
{
	if (scan_string_is(name, "document_id"))
		members->document_id = *value;
	else if (scan_string_is(name, "metadata"))
		members->metadata = *value;
	else if (scan_string_is(name, "enrichments"))
		members->enrichments = *value;
	else if (scan_string_is(name, MARKER_FIELD))
		members->marker = *value;
	else if (*value->start != 'n' && !is_system_field(name) && !is_sent(name, sent))
		add_field(members, name, value);
}

/* Why they are not kept, which may have something of the other side's in it. */
static char *
describe_unkept(const char *verb, const char *why)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "its enrichments were not kept: %s", verb);
	response_append_remote(&text, why, strlen(why), 200);
	return text.data;
}

static void
take_enrichments(AnswerDocument *document, const char *text, size_t len, const JsonText *measure)
{
	char	   *excess = scan_excess(measure, &enrichment_bounds);
	char	   *error;

	if (measure->scalars == 0)	/* {} and {"clusters": [], "taxonomies": []}
								 * are nothing yet */
		return;
	if (excess)
		document->unkept = describe_unkept("they have ", excess);
	else
	{
		document->enrichments = response_parse_utf8(text, len, &error);
		if (document->enrichments == NULL)
			document->unkept = describe_unkept("", error);
	}
}

bool
answer_document(const char *text, const char *end, List *sent,
				AnswerDocument *document, const char **wrong)
{
	Members		members;
	JsonItems	items;
	JsonText	other;

	memset(document, 0, sizeof(AnswerDocument));
	memset(&members, 0, sizeof(Members));
	if (!scan_items(text, &items) || !items.named)
	{
		bool		right = scan_text(text, end - text, &other);

		*wrong = other.end;
		return right;
	}
	while (scan_next(&items))
		take_member(&members, &items.name, &items.value, sent);
	*wrong = items.place;
	if (!scan_ended(&items, end))
		return false;
	document->document_id = document_id_text(&members.document_id);
	if (members.enrichments.depth > 0)
		take_enrichments(document, members.enrichments.start,
						 members.enrichments.end - members.enrichments.start, &members.enrichments);
	else if (members.measure.values > 0)
	{
		if (members.fields.data)
			appendStringInfoChar(&members.fields, '}');
		take_enrichments(document, members.fields.data, members.fields.len, &members.measure);
	}
	return true;
}

void
answer_listed(const JsonText *text, char **document_id, char **marker)
{
	JsonText	id = {0};
	JsonText	root_marker = {0};
	JsonText	metadata = {0};
	JsonText	own_marker = {0};
	JsonItems	items;

	scan_items(text->start, &items);
	while (scan_next(&items))
	{
		if (scan_string_is(&items.name, "document_id"))
			id = items.value;
		else if (scan_string_is(&items.name, "metadata"))
			metadata = items.value;
		else if (scan_string_is(&items.name, MARKER_FIELD))
			root_marker = items.value;
	}
	if (metadata.start && scan_items(metadata.start, &items) && items.named)
	{
		while (scan_next(&items))
		{
			if (scan_string_is(&items.name, MARKER_FIELD))
				own_marker = items.value;
		}
	}
	*document_id = document_id_text(&id);
	*marker = string_text(own_marker.start && *own_marker.start == '"' ? &own_marker : &root_marker);
}
