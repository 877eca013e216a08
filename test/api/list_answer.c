/*
 * list_answer.c
 *	  The answer to a list: pages, groups, selected fields, statistics.
 */
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "list_parts.h"
#include "merge.h"
#include "options.h"
#include "stats.h"
#include "traits.h"

/* The document's answer cut down to the wanted fields and its identity. */
static void
add_selected(Buffer *into, const JsonNode *rendered, const JsonNode *select)
{
	static JsonDocument document;
	const JsonNode *id = json_get(rendered, "document_id");
	const JsonNode *collection = json_get(rendered, "collection_id");
	Buffer		text = {0};

	buffer_printf(&text, "{\"document_id\":%.*s,\"collection_id\":%.*s}", (int) id->length, id->text,
				  (int) collection->length, collection->text);
	JSON_ITEMS(select, item)
	{
		char	   *path = json_string(item);
		const JsonNode *value = path_first(rendered, path);
		Buffer		next = {0};

		if (value)
		{
			merge_set(&next, json_parse(&document, text.data, text.length), path, value, false);
			buffer_free(&text);
			text = next;
		}
		free(path);
	}
	buffer_add(into, text.data, text.length);
	buffer_free(&text);
}

static void
add_document(Buffer *into, const Listing *l, const Document *document)
{
	static JsonDocument stored;
	static JsonDocument parsed;
	const JsonNode *root = json_parse(&stored, document->text, document->length);
	Buffer		whole = {0};

	if (!list_given(l->body, "select"))
	{
		render_document(into, document, root, l->with);
		return;
	}
	render_document(&whole, document, root, l->with);
	add_selected(into, json_parse(&parsed, whole.data, whole.length), json_get(l->body, "select"));
	buffer_free(&whole);
}

static void
add_page_link(Buffer *into, const Request *request, const char *name, bool there, const Listing *l, long offset)
{
	size_t		path = strcspn(request->uri, "?");

	buffer_printf(into, ",\"%s\":", name);
	if (there)
		buffer_printf(into, "\"%.*s?limit=%ld&offset=%ld\"", (int) path, request->uri, l->limit,
					  offset > 0 ? offset : 0);
	else
		buffer_literal(into, "null");
}

static void
add_pagination(Buffer *into, const Request *request, const Listing *l, bool more, uint64_t last)
{
	bool		newer = options.contract >= CONTRACT_2026_02;
	long		pages = (l->total + l->limit - 1) / l->limit;

	if (newer && !l->include_total)
		buffer_literal(into, "{\"total\":null,\"page\":null,\"page_size\":null,\"total_pages\":null");
	else
		buffer_printf(into, "{\"total\":%zu,\"page\":%ld,\"page_size\":%ld,\"total_pages\":%ld",
					  l->total, l->offset / l->limit + 1, l->limit, pages);
	add_page_link(into, request, "next_page", more, l, l->offset + l->limit);
	add_page_link(into, request, "previous_page", l->offset > 0, l, l->offset - l->limit);
	if (newer && more && (list_given(l->body, "sort") || list_given(l->body, "group_by")))
		buffer_printf(into, ",\"next_cursor\":\"o%lx\"", l->offset + l->limit);
	else if (newer && more)
		buffer_printf(into, ",\"next_cursor\":\"s%llx\"", (unsigned long long) last);
	else if (newer)
		buffer_literal(into, ",\"next_cursor\":null");
	buffer_char(into, '}');
}

static double
blobs_per_document(const Listing *l, size_t count)
{
	static JsonDocument stored;
	size_t		blobs = 0;

	for (size_t i = 0; i < count; i++)
	{
		const Document *d = l->matches.documents[i];
		const JsonNode *list = json_get(json_parse(&stored, d->text, d->length), "document_blobs");

		blobs += list ? list->count : 0;
	}
	return count ? (double) blobs / count : 0;
}

/* The members of an answer's statistics that all lists have. */
static void
add_stats(Buffer *into, const Listing *l, size_t count)
{
	buffer_literal(into, ",\"stats\":{\"total_documents\":");
	if (options.contract < CONTRACT_2026_10)
		buffer_printf(into, "%zu", count);
	else if (l->include_total)
		buffer_printf(into, "%zu", l->total);
	else
		buffer_literal(into, "null");
	buffer_printf(into, ",\"avg_blobs_per_document\":%g", blobs_per_document(l, count));
}

/* What is wrong with the list and, since 2026-10, how many documents there are. */
static void
add_remarks(Buffer *into, const Listing *l)
{
	bool		warn = l->matches.incomplete && trait(TRAIT_UNINDEXED_WARNINGS);

	if (warn)
		buffer_literal(into, ",\"warnings\":[\"The filter uses a field without a payload index: "
					   "documents may be missing\"]");
	if (l->unknown.length)
	{
		buffer_literal(into, ",\"unknown_collection_ids\":[");
		buffer_add(into, l->unknown.data, l->unknown.length);
		buffer_char(into, ']');
	}
	if (options.contract < CONTRACT_2026_10)
		return;
	if (!warn)
		buffer_literal(into, ",\"warnings\":null");
	if (l->include_total)
		buffer_printf(into, ",\"total_documents\":%zu", l->total);
	else
		buffer_literal(into, ",\"total_documents\":null");
}

void
list_answer_page(Request *request, Listing *l)
{
	size_t		count = l->matches.count > (size_t) l->limit ? (size_t) l->limit : l->matches.count;
	Document  **documents = l->matches.documents;
	Buffer		body = {0};

	buffer_literal(&body, "{\"results\":[");
	for (size_t i = 0; i < count; i++)
	{
		if (i)
			buffer_char(&body, ',');
		add_document(&body, l, documents[i]);
	}
	buffer_literal(&body, "],\"pagination\":");
	add_pagination(&body, request, l, l->matches.count > count, count ? documents[count - 1]->sequence : 0);
	if (options.contract >= CONTRACT_2026_02)
	{
		add_stats(&body, l, count);
		buffer_char(&body, '}');
	}
	add_remarks(&body, l);
	buffer_char(&body, '}');
	answer_json(request, 200, &body);
}

/* Since 2026-02: groups of documents with one value, in the order of the first of each. */
static void
add_group(Buffer *body, const Listing *l, const SortKey *keys, size_t from, const char *separator)
{
	size_t		count = 0;

	buffer_text(body, separator);
	buffer_literal(body, "{\"group_key\":");
	if (keys[from].rank == 0)
		buffer_printf(body, "%.17g", keys[from].number);
	else if (keys[from].rank == 1)
		buffer_json_text(body, keys[from].text);
	else
		buffer_text(body, keys[from].rank == 2 ? keys[from].text : "null");
	buffer_literal(body, ",\"documents\":[");
	for (size_t i = from; i < l->matches.count; i++)
		if (keys[i].rank == keys[from].rank && list_compare_keys(&keys[i], &keys[from]) == 0)
		{
			if (count++)
				buffer_char(body, ',');
			add_document(body, l, keys[i].document);
		}
	buffer_printf(body, "],\"count\":%zu}", count);
}

static bool
is_first_of_group(const SortKey *keys, size_t index)
{
	for (size_t i = 0; i < index; i++)
		if (keys[i].rank == keys[index].rank && list_compare_keys(&keys[i], &keys[index]) == 0)
			return false;
	return true;
}

void
list_answer_groups(Request *request, Listing *l)
{
	char	   *field = json_string(json_get(l->body, "group_by"));
	SortKey    *keys = allocate(l->matches.count * sizeof(SortKey));
	size_t		documents = l->matches.count;
	long		groups = 0;
	Buffer		body = {0};

	for (size_t i = 0; i < documents; i++)
		list_make_key(&keys[i], l->matches.documents[i], field);
	buffer_literal(&body, "{\"groups\":[");
	for (size_t i = 0; i < documents; i++)
		if (is_first_of_group(keys, i))
		{
			if (groups >= l->offset && groups < l->offset + l->limit)
				add_group(&body, l, keys, i, groups == l->offset ? "" : ",");
			groups++;
		}
	l->total = groups;
	buffer_literal(&body, "],\"pagination\":");
	add_pagination(&body, request, l, groups > l->offset + l->limit, 0);
	add_stats(&body, l, documents);
	buffer_printf(&body, ",\"total_groups\":%ld,\"avg_documents_per_group\":%g},\"group_by_field\":", groups,
				  groups ? (double) documents / groups : 0);
	buffer_json_text(&body, field);
	add_remarks(&body, l);
	buffer_char(&body, '}');
	answer_json(request, 200, &body);
	for (size_t i = 0; i < documents; i++)
		free(keys[i].text);
	free(keys);
	free(field);
}
