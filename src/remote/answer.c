/*-------------------------------------------------------------------------
 *
 * answer.c
 *		What is read of a document in an answer: its id, its marker and its
 *		enrichments.
 *
 * A document whose enrichments are too large, or cannot be jsonb, is a document all the same.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/json.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "remote/answer.h"
#include "remote/fitting.h"
#include "remote/marker.h"
#include "remote/response.h"

/* Longest document id, in bytes.  Ids are indexed, and an index entry has at most some 2,700. */
#define MAX_DOCUMENT_ID	1000

/* Longest string that is read, in bytes as it is written: our markers are shorter. */
#define MAX_STRING		65536

static const JsonBounds enrichment_bounds = {MAX_ENRICHMENT_DEPTH, MAX_ENRICHMENT_VALUES, MAX_ENRICHMENT_BYTES};

/* Root-level fields of a document that are not enrichments, in either contract. */
static const char *const system_fields[] = {
	"document_id", "collection_id", "source_details", "source_blobs", "document_blobs",
	"internal_metadata", "metadata", "vector", "vectors", "features", "presigned_url",
	"presigned_urls", "_internal", "root_object_id", "root_bucket_id", "source_type",
	"source_collection_id", "source_document_id", "source_object_id", "lineage_path",
	"lineage_chain", "document_schema_version", "enrichments", NULL
};

/* The members of a document that are read; start is NULL if one is missing. */
typedef struct Members
{
	JsonText	document_id;
	JsonText	marker;			/* at the root: in 2026-02, metadata may be
								 * there */
	JsonText	metadata;
	JsonText	enrichments;
	StringInfoData fields;		/* other fields, which are enrichments in
								 * 2026-02: an object without its last bracket */
	JsonText	measure;		/* the size of that object */
} Members;

bool
answer_is_utf8(const HttpAnswer *answer)
{
	return (size_t) pg_encoding_verifymbstr(PG_UTF8, answer->body, (int) answer->body_len) == answer->body_len;
}

/* Return a string in the database encoding, palloc'd; or NULL if it is no string or too long. */
static char *
read_string(const JsonText *string)
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

/*
 * Return a document id, palloc'd; or NULL if it is none that can be used.  "." and ".." would be
 * other paths, and a long one has no room in the index.
 */
static char *
read_document_id(const JsonText *string)
{
	char	   *id = read_string(string);

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

/* Return a name in UTF-8. */
static const char *
convert_name(const char *name)
{
	return GetDatabaseEncoding() == PG_SQL_ASCII ? name : pg_server_to_any(name, strlen(name), PG_UTF8);
}

/* Return the one of these names that a member has, or NULL. */
static char *
find_name(const JsonText *name, List *names)
{
	ListCell   *lc;

	foreach(lc, names)
	{
		if (scan_string_is(name, convert_name(lfirst(lc))))
			return lfirst(lc);
	}
	return NULL;
}

/*
 * Add a root-level field that is an enrichment.  Once the sum of the sizes is over the bound, only
 * the sizes are added.
 */
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

/* Take a member of a document.  own: it is a field that the mirror sends or has sent. */
static void
take_member(Members *members, const JsonText *name, const JsonText *value, bool own)
{
	if (scan_string_is(name, "document_id"))
		members->document_id = *value;
	else if (scan_string_is(name, "metadata"))
		members->metadata = *value;
	else if (scan_string_is(name, "enrichments"))
		members->enrichments = *value;
	else if (scan_string_is(name, MARKER_FIELD))
		members->marker = *value;
	else if (*value->start != 'n' && !own && !is_system_field(name))
		add_field(members, name, value);
}

/* Return what of the enrichments is not kept, and why; why may have text of remote origin. */
static char *
describe_unkept(const char *what, const char *why)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, what);
	response_append_remote(&text, why, strlen(why), 200);
	return text.data;
}

/* Read the enrichments from a text of this size, if they are within bounds. */
static void
read_enrichments(AnswerDocument *document, const char *text, size_t len, const JsonText *measure)
{
	char	   *excess = scan_excess(measure, &enrichment_bounds);
	char	   *error;
	int			nleft_out;

	if (measure->scalars == 0)	/* {} and {"clusters": [], "taxonomies": []}
								 * are no enrichments */
		return;
	if (excess)
	{
		document->unkept = describe_unkept("its enrichments were not kept: they have ", excess);
		return;
	}
	document->enrichments = fitting_parse(text, len, &nleft_out, &error);
	if (document->enrichments && nleft_out > 0 && !json_has_scalars(document->enrichments))
		document->enrichments = NULL;
	if (document->enrichments == NULL)
		document->unkept = describe_unkept("its enrichments were not kept: ", error);
	else if (nleft_out > 0)
		document->unkept = describe_unkept(psprintf("%d values of its enrichments were not kept: ", nleft_out), error);
}

/* Return the metadata that the API has added, as an object; start is NULL if there are none. */
static JsonText
find_added_metadata(const Members *members, const SentNames *sent)
{
	Members		added = {0};
	JsonText	object = {0};
	JsonItems	items;

	if (!sent->all_metadata || members->metadata.start == NULL ||
		!scan_items(members->metadata.start, &items) || !items.named)
		return object;
	while (scan_next(&items))
	{
		if (*items.value.start != 'n' && !scan_string_is(&items.name, MARKER_FIELD) &&
			!find_name(&items.name, sent->names))
			add_field(&added, &items.name, &items.value);
	}
	if (added.fields.data == NULL)
		return object;
	appendStringInfoChar(&added.fields, '}');
	(void) scan_value(added.fields.data, &object);
	return object;
}

/* Read the members of an object; false if that is not one to its end. */
static bool
read_members(JsonItems *items, const char *end, const SentNames *sent, Members *members, AnswerDocument *document)
{
	while (scan_next(items))
	{
		char	   *field = find_name(&items->name, sent->fields);

		if (field)
			document->fields = lappend(document->fields, field);
		take_member(members, &items->name, &items->value, field || find_name(&items->name, sent->names));
	}
	return scan_ended(items, end);
}

/* Make the fields those of "enrichments" (2025-09), if there is one, and the added metadata, if there are any. */
static void
collect_fields(Members *members, const JsonText *added)
{
	static const char label[] = "\"metadata\"";
	const JsonText name = {.start = label,.end = label + strlen(label)};
	JsonItems	items;

	if (members->enrichments.depth > 0)
	{
		members->fields.data = NULL;
		memset(&members->measure, 0, sizeof(JsonText));
		if (scan_items(members->enrichments.start, &items) && items.named)
		{
			while (scan_next(&items))
				add_field(members, &items.name, &items.value);
		}
	}
	if (added->start)
		add_field(members, &name, added);
}

/* Read what the API has added to a document. */
static void
read_added(AnswerDocument *document, Members *members, const SentNames *sent)
{
	JsonText	added = find_added_metadata(members, sent);

	if (members->enrichments.depth > 0 && added.start == NULL)
	{
		read_enrichments(document, members->enrichments.start,
						 members->enrichments.end - members->enrichments.start, &members->enrichments);
		return;
	}
	collect_fields(members, &added);
	if (members->measure.values == 0)
		return;
	if (members->fields.data)
		appendStringInfoChar(&members->fields, '}');
	read_enrichments(document, members->fields.data, members->fields.len, &members->measure);
}

bool
answer_document(const char *text, const char *end, const SentNames *sent,
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
	if (!read_members(&items, end, sent, &members, document))
	{
		*wrong = items.place;
		return false;
	}
	document->document_id = read_document_id(&members.document_id);
	document->metadata = members.metadata;
	read_added(document, &members, sent);
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
	*document_id = read_document_id(&id);
	*marker = read_string(own_marker.start && *own_marker.start == '"' ? &own_marker : &root_marker);
}
