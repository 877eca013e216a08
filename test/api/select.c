/*
 * select.c
 *	  Which documents of a collection a filter and a search mean.
 *
 * A filter costs a rendering a document, except where an index of the store can
 * name the few that come into question.
 */
#define _GNU_SOURCE
#include "select.h"

#include <stdlib.h>
#include <string.h>

#include "filter_parts.h"
#include "namespace.h"
#include "render.h"
#include "traits.h"
#include "visible.h"

void
selection_add(Selection *selection, Document *document)
{
	if (selection->count == selection->capacity)
	{
		selection->capacity = selection->capacity ? selection->capacity * 2 : 64;
		selection->documents = realloc(selection->documents, selection->capacity * sizeof(Document *));
		if (!selection->documents)
			abort();
	}
	selection->documents[selection->count++] = document;
}

void
selection_free(Selection *selection)
{
	free(selection->documents);
	memset(selection, 0, sizeof(*selection));
}

static void
add_by_index(Selection *candidates, const Collection *collection, StoreIndex which, const JsonNode *value)
{
	Buffer		text = {0};

	if (value->kind != JSON_STRING)
		return;
	json_decode(value, &text);
	for (Document *d = store_first(collection, which, buffer_terminate(&text), text.length); d;
		 d = store_next(d, which))
		selection_add(candidates, d);
	buffer_free(&text);
}

/* The index that knows the field; a document's marker stands in one of its places. */
static bool
find_index(const char *field, StoreIndex *which)
{
	static const struct
	{
		const char *field;
		StoreIndex	which;
	}			fields[] = {
		{"metadata." MARKER_FIELD, INDEX_MARKER}, {MARKER_FIELD, INDEX_MARKER},
		{"_internal.metadata." MARKER_FIELD, INDEX_MARKER}, {"document_id", INDEX_ID},
		{"root_object_id", INDEX_ROOT_OBJECT}, {"source_object_id", INDEX_SOURCE_OBJECT},
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (strcmp(fields[i].field, field) == 0)
		{
			*which = fields[i].which;
			return true;
		}
	return false;
}

static bool
candidates_of_condition(Selection *candidates, const Collection *collection, const Filter *c)
{
	StoreIndex	which;

	if (!find_index(c->field, &which) || (c->operator != OP_EQ && c->operator != OP_IN))
		return false;
	if (c->value->kind != JSON_ARRAY)
		add_by_index(candidates, collection, which, c->value);
	else if (c->operator == OP_EQ)
		return false;
	else
		JSON_ITEMS(c->value, item)
			add_by_index(candidates, collection, which, item);
	return true;
}

/*
 * Adds at least all documents that can match, by the store's indexes; false
 * where they do not help.
 */
static bool
find_candidates(Selection *candidates, const Collection *collection, const Filter *filter)
{
	size_t		before = candidates->count;

	if (filter->kind == FILTER_CONDITION)
		return candidates_of_condition(candidates, collection, filter);
	if (filter->kind == FILTER_NONE)
		return false;
	for (const Filter *child = filter->children; child; child = child->next)
	{
		bool		found = find_candidates(candidates, collection, child);

		if (filter->kind == FILTER_ALL && found)
			return true;
		if (filter->kind == FILTER_ANY && !found)
		{
			candidates->count = before;
			return false;
		}
	}
	return filter->kind == FILTER_ANY && filter->children;
}

static int
by_sequence(const void *left, const void *right)
{
	const Document *a = *(Document *const *) left;
	const Document *b = *(Document *const *) right;

	return (a->sequence > b->sequence) - (a->sequence < b->sequence);
}

/* Brings the documents into the order of their creation, each once. */
void
selection_sort(Selection *candidates)
{
	size_t		kept = 0;

	if (candidates->count > 1)
		qsort(candidates->documents, candidates->count, sizeof(Document *), by_sequence);
	for (size_t i = 0; i < candidates->count; i++)
		if (i == 0 || candidates->documents[i] != candidates->documents[i - 1])
			candidates->documents[kept++] = candidates->documents[i];
	candidates->count = kept;
}

/* Whether any string within the value contains the text, which is lower case. */
static bool
search_matches(const JsonNode *value, const Text *sought)
{
	bool		found = false;

	if (value && value->kind == JSON_STRING)
	{
		Text		text = text_of(value, false);

		found = memmem(text.bytes, text.length, sought->bytes, sought->length) != NULL;
		free(text.bytes);
	}
	else if (value && value->kind == JSON_ARRAY)
		JSON_ITEMS(value, item)
			found = found || search_matches(item, sought);
	else if (value && value->kind == JSON_OBJECT)
		JSON_MEMBERS(value, key)
			found = found || search_matches(&key[1], sought);
	return found;
}

static bool
document_matches(const Document *document, const Filter *filter, const Text *sought)
{
	static JsonDocument stored;
	static JsonDocument parsed;
	static Buffer rendered;
	const JsonNode *root = json_parse(&stored, document->text, document->length);

	if (sought->bytes && !search_matches(json_get(root, "metadata"), sought))
		return false;
	if (!filter)
		return true;
	rendered.length = 0;
	render_document(&rendered, document, root, (RenderOptions) {.filtering = true});
	return filter_matches(filter, json_parse(&parsed, rendered.data, rendered.length));
}

/* Whether the filter has a condition on a field without a payload index. */
static bool
lacks_index(const Filter *filter, const char *namespace)
{
	if (filter->kind == FILTER_CONDITION)
		return !namespace_has_index(namespace, filter->field);
	for (const Filter *child = filter->children; child; child = child->next)
		if (lacks_index(child, namespace))
			return true;
	return false;
}

/* Leaves out what a filter does not find for want of a payload index. */
static void
drop_unindexed(Selection *selection)
{
	size_t		kept = 0;

	for (size_t i = 0; i < selection->count; i++)
		if (trait(TRAIT_UNINDEXED) == UNINDEXED_HALF && selection->documents[i]->sequence % 2)
			selection->documents[kept++] = selection->documents[i];
	selection->count = kept;
	selection->incomplete = true;
}

/* All documents that match and can be seen; filter and search may be NULL. */
void
filter_select(Selection *selection, const Collection *collection, const Filter *filter, const char *search)
{
	Selection	candidates = {0};
	Text		sought = {0};
	size_t		kept = 0;

	if (!collection)
		return;
	if (search)
	{
		sought = (Text) {copy_bytes(search, strlen(search)), strlen(search)};
		for (char *c = sought.bytes; *c; c++)
			if (*c >= 'A' && *c <= 'Z')
				*c += 32;
	}
	if (filter && find_candidates(&candidates, collection, filter))
		selection_sort(&candidates);
	else
		for (Document *d = collection->first; d; d = d->next)
			selection_add(&candidates, d);
	for (size_t i = 0; i < candidates.count; i++)
		if (visible_in_lists(candidates.documents[i]) &&
			((!filter && !search) || document_matches(candidates.documents[i], filter, &sought)))
			candidates.documents[kept++] = candidates.documents[i];
	candidates.count = kept;
	if (filter && trait(TRAIT_UNINDEXED) != UNINDEXED_COMPLETE && lacks_index(filter, collection->namespace))
		drop_unindexed(&candidates);
	free(sought.bytes);
	*selection = candidates;
}
