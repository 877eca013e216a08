/*
 * list.c
 *	  The list operation: filters, search, sort, pages, groups, selected fields.
 */
#define _GNU_SOURCE
#include "list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "filter.h"
#include "merge.h"
#include "options.h"
#include "render.h"
#include "schema.h"
#include "stats.h"

#define DEFAULT_LIMIT 10
#define MAX_LIMIT 1000
#define MAX_OFFSET 10000		/* 2026-02 */

typedef struct Listing
{
	long		limit;
	long		offset;
	bool		include_total;
	uint64_t	after;			/* a cursor: documents created after this one */
	char	   *cursor;
	const JsonNode *body;		/* NULL: none was sent */
	RenderOptions with;
	Filter	   *filter;
	Selection	matches;		/* only where they were looked for one by one */
	size_t		total;
} Listing;

typedef struct SortKey
{
	Document   *document;
	int			rank;			/* numbers, strings, anything else, nothing */
	double		number;
	char	   *text;
} SortKey;

static bool
flag(const JsonNode *body, const char *name)
{
	const JsonNode *value = json_get(body, name);

	return value && value->kind == JSON_TRUE;
}

static bool
given(const JsonNode *body, const char *name)
{
	const JsonNode *value = json_get(body, name);

	return value && value->kind != JSON_NULL;
}

/* The query string; false where the request is answered. */
static bool
read_query(Request *request, Listing *l)
{
	bool		newer = options.contract == CONTRACT_2026_02;
	static Checker checker;
	Buffer		cursor = {0};

	checker_begin(&checker, "query");
	l->limit = request_integer(request, &checker, "limit", DEFAULT_LIMIT, 1, newer ? MAX_LIMIT : 0);
	l->offset = request_integer(request, &checker, "offset", 0, 0, newer ? MAX_OFFSET : 0);
	if (l->limit > MAX_LIMIT)
		l->limit = MAX_LIMIT;
	if (newer)
	{
		l->include_total = request_flag(request, &checker, "include_total");
		if (request_parameter(request, "cursor", &cursor))
			l->cursor = copy_bytes(cursor.data, cursor.length);
	}
	buffer_free(&cursor);
	return !checker_answer(&checker, request);
}

/* The body, which may be missing; false where the request is answered. */
static bool
read_body(Request *request, Listing *l)
{
	if (request->body.length || request->too_large)
	{
		l->body = request_checked(request, schema_list());
		if (!l->body)
			return false;
	}
	l->with.url = flag(l->body, "return_url");
	l->with.vectors = flag(l->body, "return_vectors");
	if (!l->cursor && options.contract == CONTRACT_2026_02)
		l->cursor = json_string(json_get(l->body, "cursor"));
	return request_filter(request, json_get(l->body, "filters"), &l->filter);
}

/*
 * Cursors: "s" and the sequence of the last document seen or, where the order
 * is another one, "o" and an offset.  False where the request is answered.
 */
static bool
read_cursor(Request *request, Listing *l)
{
	unsigned long long number;
	char		kind;

	if (!l->cursor || !*l->cursor)
		return true;
	if (sscanf(l->cursor, "%c%llx", &kind, &number) != 2 || (kind != 's' && kind != 'o'))
	{
		answer_error(request, 400, NULL, "Invalid cursor");
		return false;
	}
	l->offset = kind == 'o' ? (long) number : 0;
	l->after = kind == 's' ? number : 0;
	return true;
}

static void
make_sort_key(SortKey *key, Document *document, const char *field)
{
	static JsonDocument stored;
	static JsonDocument parsed;
	static Buffer rendered;
	const JsonNode *value;

	rendered.length = 0;
	render_document(&rendered, document, json_parse(&stored, document->text, document->length),
					(RenderOptions) {0});
	value = path_first(json_parse(&parsed, rendered.data, rendered.length), field);
	key->document = document;
	key->rank = !value || value->kind == JSON_NULL ? 3 : value->kind == JSON_NUMBER ? 0 :
		value->kind == JSON_STRING ? 1 : 2;
	key->number = json_number(value);
	key->text = key->rank == 1 ? json_string(value) : key->rank == 2 ? copy_bytes(value->text, value->length) : NULL;
}

static int
compare_keys(const SortKey *a, const SortKey *b)
{
	if (a->rank != b->rank || a->rank == 3)
		return 0;
	return a->rank == 0 ? (a->number > b->number) - (a->number < b->number) : strcmp(a->text, b->text);
}

/* Values of one kind together, missing ones last in either direction. */
static int
compare_in_order(const void *left, const void *right, void *descending)
{
	const SortKey *a = left;
	const SortKey *b = right;
	int			order = compare_keys(a, b);

	if (a->rank != b->rank)
		return a->rank - b->rank;
	if (order)
		return *(bool *) descending ? -order : order;
	return (a->document->sequence > b->document->sequence) - (a->document->sequence < b->document->sequence);
}

static void
sort_matches(Selection *matches, const JsonNode *sort)
{
	char	   *field = json_string(json_get(sort, "field"));
	bool		descending = json_is(json_get(sort, "direction"), "desc");
	SortKey    *keys = allocate(matches->count * sizeof(SortKey));

	for (size_t i = 0; i < matches->count; i++)
		make_sort_key(&keys[i], matches->documents[i], field);
	qsort_r(keys, matches->count, sizeof(SortKey), compare_in_order, &descending);
	for (size_t i = 0; i < matches->count; i++)
	{
		matches->documents[i] = keys[i].document;
		free(keys[i].text);
	}
	free(keys);
	free(field);
}

/* Fills matches with the page's documents and total with the count of all. */
static void
take_page(Request *request, Listing *l)
{
	Document   *document = request->collection ? request->collection->first : NULL;

	l->total = request->collection ? request->collection->count : 0;
	while (document && document->sequence <= l->after)
		document = document->next;
	for (long i = 0; document && i < l->offset; i++)
		document = document->next;
	for (; document && (long) l->matches.count <= l->limit; document = document->next)
		selection_add(&l->matches, document);
}

static void
take_matches(Request *request, Listing *l)
{
	const JsonNode *sort = json_get(l->body, "sort");
	char	   *search = json_string(json_get(l->body, "search"));
	size_t		skip = l->offset;
	Selection  *m = &l->matches;

	filter_select(m, request->collection, l->filter, search);
	l->total = m->count;
	if (given(l->body, "sort"))
		sort_matches(m, sort);
	else
		for (; skip < m->count && m->documents[skip]->sequence <= l->after; skip++)
			;
	free(search);
	if (skip > m->count)
		skip = m->count;
	m->count -= skip;
	if (m->count)
		memmove(m->documents, m->documents + skip, m->count * sizeof(Document *));
}

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
			merge_set(&next, json_parse(&document, text.data, text.length), path, value);
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

	if (!given(l->body, "select"))
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
	bool		newer = options.contract == CONTRACT_2026_02;
	long		pages = (l->total + l->limit - 1) / l->limit;

	if (newer && !l->include_total)
		buffer_literal(into, "{\"total\":null,\"page\":null,\"page_size\":null,\"total_pages\":null");
	else
		buffer_printf(into, "{\"total\":%zu,\"page\":%ld,\"page_size\":%ld,\"total_pages\":%ld",
					  l->total, l->offset / l->limit + 1, l->limit, pages);
	add_page_link(into, request, "next_page", more, l, l->offset + l->limit);
	add_page_link(into, request, "previous_page", l->offset > 0, l, l->offset - l->limit);
	if (newer && more && (given(l->body, "sort") || given(l->body, "group_by")))
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

static void
answer_page(Request *request, Listing *l)
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
	if (options.contract == CONTRACT_2026_02)
		buffer_printf(&body, ",\"stats\":{\"total_documents\":%zu,\"avg_blobs_per_document\":%g}",
					  count, blobs_per_document(l, count));
	buffer_char(&body, '}');
	answer_json(request, 200, &body);
}

/* 2026-02: groups of documents with one value, in the order of the first of each. */
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
		if (keys[i].rank == keys[from].rank && compare_keys(&keys[i], &keys[from]) == 0)
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
		if (keys[i].rank == keys[index].rank && compare_keys(&keys[i], &keys[index]) == 0)
			return false;
	return true;
}

static void
answer_groups(Request *request, Listing *l)
{
	char	   *field = json_string(json_get(l->body, "group_by"));
	SortKey    *keys = allocate(l->matches.count * sizeof(SortKey));
	size_t		documents = l->matches.count;
	long		groups = 0;
	Buffer		body = {0};

	for (size_t i = 0; i < documents; i++)
		make_sort_key(&keys[i], l->matches.documents[i], field);
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
	buffer_printf(&body, ",\"stats\":{\"total_documents\":%zu,\"avg_blobs_per_document\":%g,"
				  "\"total_groups\":%ld,\"avg_documents_per_group\":%g},\"group_by_field\":",
				  documents, blobs_per_document(l, documents), groups,
				  groups ? (double) documents / groups : 0);
	buffer_json_text(&body, field);
	buffer_char(&body, '}');
	answer_json(request, 200, &body);
	for (size_t i = 0; i < documents; i++)
		free(keys[i].text);
	free(keys);
	free(field);
}

static void
list(Request *request, Listing *l)
{
	bool		grouped = given(l->body, "group_by");
	long		offset = l->offset;

	stats.lists++;
	if (grouped)
		l->offset = 0;			/* pages are of groups */
	if (l->filter || grouped || given(l->body, "search") || given(l->body, "sort"))
		take_matches(request, l);
	else
		take_page(request, l);
	l->offset = offset;
	if (grouped)
		answer_groups(request, l);
	else
		answer_page(request, l);
}

void
document_list(Request *request)
{
	Listing		l = {0};

	if (read_query(request, &l) && read_body(request, &l) && read_cursor(request, &l))
		list(request, &l);
	filter_free(l.filter);
	selection_free(&l.matches);
	free(l.cursor);
}
