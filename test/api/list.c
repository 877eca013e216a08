/*
 * list.c
 *	  The list operation: what the request asks for, and which documents that is.
 */
#define _GNU_SOURCE
#include "list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "list_parts.h"
#include "options.h"
#include "render.h"
#include "schema.h"
#include "select.h"
#include "stats.h"
#include "traits.h"
#include "visible.h"

#define DEFAULT_LIMIT 10

static bool
flag(const JsonNode *body, const char *name)
{
	const JsonNode *value = json_get(body, name);

	return value && value->kind == JSON_TRUE;
}

/* Whether the body has the member, and it is not null. */
bool
list_given(const JsonNode *body, const char *name)
{
	const JsonNode *value = json_get(body, name);

	return value && value->kind != JSON_NULL;
}

/* The first cursor that the query has under one of its names, or NULL. */
static char *
read_query_cursor(const Request *request)
{
	static const char *const names[] = {"cursor", "next_cursor", "after"};
	int			count = options.contract >= CONTRACT_2026_10 ? 3 : 1;
	Buffer		text = {0};
	char	   *cursor = NULL;

	for (int i = 0; i < count && !cursor; i++)
		if (request_parameter(request, names[i], &text))
			cursor = copy_bytes(text.data, text.length);
	buffer_free(&text);
	return cursor;
}

/* What the query may have since 2026-10. */
static void
read_newest_query(Request *request, Checker *checker, Listing *l)
{
	long		page;

	l->limit = request_integer(request, checker, "page_size", l->limit, 1, MAX_LIMIT);
	page = request_integer(request, checker, "page", 0, 1, 0);
	if (page)
		l->offset = (page - 1) * l->limit;
	l->with.url = request_flag(request, checker, "return_presigned_urls");
	l->with.vectors = request_flag(request, checker, "return_vectors");
}

/* The query string; false where the request is answered. */
static bool
read_query(Request *request, Listing *l)
{
	bool		newer = options.contract >= CONTRACT_2026_02;
	static Checker checker;

	checker_begin(&checker, "query");
	l->limit = request_integer(request, &checker, "limit", DEFAULT_LIMIT, 1, newer ? MAX_LIMIT : 0);
	l->offset = request_integer(request, &checker, "offset", 0, 0, newer ? MAX_OFFSET : 0);
	if (l->limit > MAX_LIMIT)
		l->limit = MAX_LIMIT;
	if (newer)
	{
		l->include_total = request_flag(request, &checker, "include_total");
		l->cursor = read_query_cursor(request);
	}
	if (options.contract >= CONTRACT_2026_10)
		read_newest_query(request, &checker, l);
	return !checker_answer(&checker, request);
}

static void
read_number(const JsonNode *body, const char *name, long *number)
{
	if (list_given(body, name))
		*number = json_number(json_get(body, name));
}

/* What the body may have since 2026-10. */
static void
read_newest_body(Listing *l)
{
	const JsonNode *partition = json_get(l->body, "partition");

	read_number(l->body, "page_size", &l->limit);
	read_number(l->body, "limit", &l->limit);
	read_number(l->body, "offset", &l->offset);
	read_number(partition, "count", &l->partitions);
	read_number(partition, "index", &l->partition);
	l->include_total = l->include_total || flag(l->body, "include_total");
	l->with.url = l->with.url || flag(l->body, "return_presigned_urls");
	if (list_given(l->body, "return_vector_names"))
		l->with.vector_names = json_get(l->body, "return_vector_names");
}

/* The body, which may be missing; false where the request is answered. */
static bool
read_body(Request *request, Listing *l)
{
	if (request->body.length || request->too_large)
	{
		l->body = request_checked(request, request->collection_name ? schema_list() : &schema_namespace_list);
		if (!l->body)
			return false;
	}
	l->with.vectors = l->with.vectors || flag(l->body, "return_vectors");
	if (options.contract >= CONTRACT_2026_10)
		read_newest_body(l);
	else
		l->with.url = flag(l->body, "return_url");
	if (!l->cursor && options.contract >= CONTRACT_2026_02)
		l->cursor = json_string(json_get(l->body, "cursor"));
	return request_filter(request, json_get(l->body, "filters"), &l->filter);
}

static void
add_source(Listing *l, Collection *collection)
{
	l->sources = realloc(l->sources, (l->source_count + 1) * sizeof(Collection *));
	l->sources[l->source_count++] = collection;
}

/* Adds the collection of that name, if it has documents; false, and a note, where there is none. */
static bool
add_named_source(Request *request, Listing *l, const JsonNode *name_node)
{
	char	   *name = json_string(name_node);
	Collection *collection = store_collection(request->namespace, name, false);
	bool		known = names_allow(&options.collections, name);

	if (known && collection)
		add_source(l, collection);
	if (!known)
	{
		if (l->unknown.length)
			buffer_char(&l->unknown, ',');
		buffer_json_text(&l->unknown, name);
	}
	free(name);
	return known;
}

/* The names of collections that the namespace's list is about, or NULL for all of them. */
static const JsonNode *
named_collections(const Listing *l)
{
	static const char *const names[] = {"collection_ids", "collections", "collection_id"};

	for (int i = 0; i < 3; i++)
		if (list_given(l->body, names[i]))
			return json_get(l->body, names[i]);
	return NULL;
}

/* Finds the collections of the request's list of the namespace; false where the request is answered. */
static bool
find_named_sources(Request *request, Listing *l, const JsonNode *names)
{
	bool		known = false;

	if (names->kind == JSON_STRING)
		known = add_named_source(request, l, names);
	else
	{
		known = names->count == 0;
		JSON_ITEMS(names, item)
			known |= add_named_source(request, l, item);
	}
	if (known || trait(TRAIT_MISSING_COLLECTION) != MISSING_COLLECTION_NOT_FOUND)
		return true;
	answer_missing(request, "collection", "collection_ids");
	return false;
}

/* Finds the collections to be listed; false where the request is answered. */
static bool
find_sources(Request *request, Listing *l)
{
	const JsonNode *names = named_collections(l);

	if (request->collection_name && request->collection)
		add_source(l, request->collection);
	else if (request->collection_name && !names_allow(&options.collections, request->collection_name))
		buffer_json_text(&l->unknown, request->collection_name);
	else if (!request->collection_name && names && !find_named_sources(request, l, names))
		return false;
	else if (!request->collection_name && !names)
		for (Collection *c = store_collections(); c; c = c->next)
			if (strcmp(c->namespace, request->namespace) == 0)
				add_source(l, c);
	if (trait(TRAIT_MISSING_COLLECTION) == MISSING_COLLECTION_EMPTY)
		l->unknown.length = 0;
	return true;
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

/* Read what a document is sorted or grouped by; the key's text is to be freed. */
void
list_make_key(SortKey *key, Document *document, const char *field)
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

/* Compare keys of one rank. */
int
list_compare_keys(const SortKey *a, const SortKey *b)
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
	int			order = list_compare_keys(a, b);

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
		list_make_key(&keys[i], matches->documents[i], field);
	qsort_r(keys, matches->count, sizeof(SortKey), compare_in_order, &descending);
	for (size_t i = 0; i < matches->count; i++)
	{
		matches->documents[i] = keys[i].document;
		free(keys[i].text);
	}
	free(keys);
	free(field);
}

/* Fills matches with the page's documents and total with the count of all, of one collection. */
static void
take_page(Listing *l)
{
	Document   *document = l->source_count ? l->sources[0]->first : NULL;

	l->total = l->source_count ? l->sources[0]->count : 0;
	while (document && document->sequence <= l->after)
		document = document->next;
	for (long i = 0; document && i < l->offset; i++)
		document = document->next;
	for (; document && (long) l->matches.count <= l->limit; document = document->next)
		selection_add(&l->matches, document);
}

/* Leaves the documents of one partition, by their ids. */
static void
keep_partition(Listing *l)
{
	size_t		kept = 0;

	for (size_t i = 0; i < l->matches.count; i++)
		if (l->matches.documents[i]->links[INDEX_ID].hash % l->partitions == (uint64_t) l->partition)
			l->matches.documents[kept++] = l->matches.documents[i];
	l->matches.count = kept;
}

static void
select_from_sources(Listing *l, const char *search)
{
	for (size_t i = 0; i < l->source_count; i++)
	{
		Selection	part = {0};

		filter_select(&part, l->sources[i], l->filter, search);
		for (size_t j = 0; j < part.count; j++)
			selection_add(&l->matches, part.documents[j]);
		l->matches.incomplete |= part.incomplete;
		selection_free(&part);
	}
	if (l->source_count > 1)
		selection_sort(&l->matches);
	if (l->partitions)
		keep_partition(l);
}

static void
take_matches(Listing *l)
{
	const JsonNode *sort = json_get(l->body, "sort");
	char	   *search = json_string(json_get(l->body, "search"));
	size_t		skip = l->offset;
	Selection  *m = &l->matches;

	select_from_sources(l, search);
	l->total = m->count;
	if (list_given(l->body, "sort"))
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

static void
list(Request *request, Listing *l)
{
	bool		grouped = list_given(l->body, "group_by");
	long		offset = l->offset;

	stats.lists++;
	if (grouped)
		l->offset = 0;			/* pages are of groups */
	if (l->filter || grouped || list_given(l->body, "search") || list_given(l->body, "sort") ||
		l->source_count > 1 || l->partitions || !visible_all())
		take_matches(l);
	else
		take_page(l);
	l->offset = offset;
	if (grouped)
		list_answer_groups(request, l);
	else
		list_answer_page(request, l);
}

void
document_list(Request *request)
{
	Listing		l = {0};

	if (read_query(request, &l) && read_body(request, &l) && find_sources(request, &l) && read_cursor(request, &l))
		list(request, &l);
	filter_free(l.filter);
	selection_free(&l.matches);
	buffer_free(&l.unknown);
	free(l.sources);
	free(l.cursor);
}
