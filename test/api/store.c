/*
 * store.c
 *	  The documents, in memory.  Every change is in the journal, if there is
 *	  one, before the function that made it returns.
 */
#include "store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "journal.h"
#include "options.h"
#include "timer.h"

StoreTotals store_totals;

static Collection *collections;
static uint64_t next_sequence = 1;
static uint64_t id_state[2];
static JsonDocument scratch;

static uint64_t
splitmix(uint64_t *state)
{
	uint64_t	z = (*state += 0x9E3779B97F4A7C15ULL);

	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
	return z ^ (z >> 31);
}

/* FNV-1a over the bytes with ASCII letters folded, as filters compare. */
static uint64_t
hash_folded(const char *bytes, size_t length)
{
	uint64_t	hash = 0xCBF29CE484222325ULL;

	for (size_t i = 0; i < length; i++)
	{
		unsigned char c = bytes[i];

		hash = (hash ^ (c >= 'A' && c <= 'Z' ? c + 32 : c)) * 0x100000001B3ULL;
	}
	return hash ^ hash >> 29;
}

static Link *
link_of(const Index *index, Document *document)
{
	return (Link *) ((char *) document + index->link_offset);
}

static void
index_grow(Index *index)
{
	size_t		old = index->buckets ? index->mask + 1 : 0;
	size_t		size = old ? old * 2 : 64;
	Document  **buckets = allocate(size * sizeof(Document *));

	for (size_t i = 0; i < old; i++)
		for (Document *d = index->buckets[i], *next; d; d = next)
		{
			Link	   *link = link_of(index, d);

			next = link->next;
			link->next = buckets[link->hash & (size - 1)];
			buckets[link->hash & (size - 1)] = d;
		}
	free(index->buckets);
	index->buckets = buckets;
	index->mask = size - 1;
}

static void
index_add(Index *index, Document *document, uint64_t hash)
{
	Link	   *link = link_of(index, document);

	if (!index->buckets || index->count > index->mask)
		index_grow(index);
	link->hash = hash;
	link->next = index->buckets[hash & index->mask];
	index->buckets[hash & index->mask] = document;
	index->count++;
}

static void
index_remove(Index *index, Document *document)
{
	Link	   *link = link_of(index, document);
	Document  **at = &index->buckets[link->hash & index->mask];

	while (*at != document)
		at = &link_of(index, *at)->next;
	*at = link->next;
	index->count--;
}

/* The first document with that hash at or after one in its chain. */
static Document *
index_match(const Index *index, Document *document, uint64_t hash)
{
	while (document && link_of(index, document)->hash != hash)
		document = link_of(index, document)->next;
	return document;
}

/*
 * Documents whose entry in the index may be this text: its hash with letters
 * folded is the same, so the caller compares.
 */
Document *
store_first(const Collection *collection, StoreIndex which, const char *text, size_t length)
{
	const Index *index = &collection->indexes[which];
	uint64_t	hash = hash_folded(text, length);

	return index->buckets ? index_match(index, index->buckets[hash & index->mask], hash) : NULL;
}

Document *
store_next(const Document *document, StoreIndex which)
{
	const Link *link = &document->links[which];

	return index_match(&document->collection->indexes[which], link->next, link->hash);
}

static void
add_to_index(Document *document, StoreIndex which, const char *text, size_t length)
{
	index_add(&document->collection->indexes[which], document, hash_folded(text, length));
	document->indexed[which] = true;
}

static void
remove_from_index(Document *document, StoreIndex which)
{
	if (document->indexed[which])
		index_remove(&document->collection->indexes[which], document);
	document->indexed[which] = false;
}

/* How many documents other than this one have exactly its marker, up to 2. */
static int
count_twins(const Document *document)
{
	int			twins = 0;
	Document   *d = store_first(document->collection, INDEX_MARKER, document->marker, document->marker_length);

	for (; d && twins < 2; d = store_next(d, INDEX_MARKER))
		twins += d != document && d->marker_length == document->marker_length &&
			memcmp(d->marker, document->marker, d->marker_length) == 0;
	return twins;
}

static void
count_marker(const Document *document, int sign)
{
	int			twins = count_twins(document);

	if (twins == 0)
		store_totals.markers += sign;
	else
		store_totals.duplicates += twins == 1 ? 2 * sign : sign;
}

/* Find the marker in metadata, in the metadata of an upsert or at the root. */
static const JsonNode *
find_marker(const JsonNode *root)
{
	const JsonNode *marker = json_get(json_get(root, "metadata"), MARKER_FIELD);

	if (!marker)
		marker = json_get(json_get(json_get(root, "_internal"), "metadata"), MARKER_FIELD);
	return marker ? marker : json_get(root, MARKER_FIELD);
}

static void
add_marker(Document *document, const JsonNode *root)
{
	const JsonNode *marker = find_marker(root);
	Buffer		decoded = {0};

	if (!marker || marker->kind != JSON_STRING)
		return;
	json_decode(marker, &decoded);
	buffer_terminate(&decoded);
	document->marker = decoded.data;
	document->marker_length = decoded.length;
	add_to_index(document, INDEX_MARKER, decoded.data, decoded.length);
	count_marker(document, 1);
}

static void
add_object(Document *document, const JsonNode *root, StoreIndex which, const char *field)
{
	char	   *object = json_string(json_get(root, field));

	if (object)
		add_to_index(document, which, object, strlen(object));
	free(object);
}

/* Enters what the text says into the indexes. */
static void
add_entries(Document *document, const JsonNode *root)
{
	add_marker(document, root);
	add_object(document, root, INDEX_ROOT_OBJECT, "root_object_id");
	add_object(document, root, INDEX_SOURCE_OBJECT, "source_object_id");
}

static void
remove_marker(Document *document)
{
	if (!document->marker)
		return;
	count_marker(document, -1);
	remove_from_index(document, INDEX_MARKER);
	free(document->marker);
	document->marker = NULL;
}

static void
remove_entries(Document *document)
{
	remove_marker(document);
	remove_from_index(document, INDEX_ROOT_OBJECT);
	remove_from_index(document, INDEX_SOURCE_OBJECT);
}

/* Ids differ from those of earlier runs: the seed is the system's. */
void
store_start(void)
{
	if (getrandom(id_state, sizeof(id_state), 0) != sizeof(id_state))
		abort();
	if (options.journal)
		journal_open();
}

#define ID_PREFIX "id_of_"

/* The name in a collection_identifier, which may be a collection's name or its id. */
static const char *
collection_name(const char *identifier)
{
	return strncmp(identifier, ID_PREFIX, strlen(ID_PREFIX)) == 0 ? identifier + strlen(ID_PREFIX) : identifier;
}

/* The collection of that name or id, or NULL if it holds nothing yet. */
Collection *
store_collection(const char *namespace, const char *identifier, bool create)
{
	const char *name = collection_name(identifier);
	Collection *c = collections;

	while (c && (strcmp(c->name, name) != 0 || strcmp(c->namespace, namespace) != 0))
		c = c->next;
	if (c || !create)
		return c;
	c = allocate(sizeof(Collection));
	c->namespace = copy_bytes(namespace, strlen(namespace));
	c->name = copy_bytes(name, strlen(name));
	for (int i = 0; i < INDEXES; i++)
		c->indexes[i].link_offset = offsetof(Document, links) + i * sizeof(Link);
	c->next = collections;
	collections = c;
	return c;
}

/* The first of all collections, linked by their field next. */
Collection *
store_collections(void)
{
	return collections;
}

/* The first collection of that name or id in whatever namespace, or NULL. */
Collection *
store_collection_anywhere(const char *identifier)
{
	const char *name = collection_name(identifier);
	Collection *c = collections;

	while (c && strcmp(c->name, name) != 0)
		c = c->next;
	return c;
}

/* Make an id up: doc_ and 24 hexadecimal digits. */
static char *
make_id(void)
{
	static const char digits[] = "0123456789abcdef";
	uint64_t	bits[2] = {splitmix(&id_state[0]), splitmix(&id_state[1])};
	char		id[28] = "doc_";

	for (int i = 0; i < 24; i++)
		id[4 + i] = digits[bits[i / 16] >> (i % 16 * 4) & 15];
	return copy_bytes(id, sizeof(id));
}

static void
insert(Document *document, const JsonNode *root)
{
	Collection *c = document->collection;

	document->sequence = next_sequence++;
	document->previous = c->last;
	if (c->last)
		c->last->next = document;
	else
		c->first = document;
	c->last = document;
	c->count++;
	store_totals.documents++;
	add_to_index(document, INDEX_ID, document->id, strlen(document->id));
	add_entries(document, root);
}

/*
 * Takes over the text, which root is the parsed form of.  The id is copied;
 * without one, the document gets one.
 */
Document *
store_create(Collection *collection, const char *id, char *text, size_t length, const JsonNode *root)
{
	Document   *document = allocate(sizeof(Document));

	document->id = id ? copy_bytes(id, strlen(id)) : make_id();
	document->collection = collection;
	document->text = text;
	document->length = length;
	document->created_at = document->updated_at = document->enriched_from = clock_wall();
	insert(document, root);
	journal_put('C', document);
	return document;
}

Document *
store_find(const Collection *collection, const char *id)
{
	Document   *document = collection ? store_first(collection, INDEX_ID, id, strlen(id)) : NULL;

	while (document && strcmp(document->id, id) != 0)
		document = store_next(document, INDEX_ID);
	return document;
}

/* The document of that id in any collection of the namespace, or NULL. */
Document *
store_find_in_namespace(const char *namespace, const char *id)
{
	Document   *document = NULL;

	for (Collection *c = collections; c && !document; c = c->next)
		if (strcmp(c->namespace, namespace) == 0)
			document = store_find(c, id);
	return document;
}

static void
replace(Document *document, char *text, size_t length, double updated_at)
{
	remove_entries(document);
	free(document->text);
	document->text = text;
	document->length = length;
	document->updated_at = document->enriched_from = updated_at;
	add_entries(document, json_parse(&scratch, text, length));
}

/* Takes over the text, which is valid JSON. */
void
store_replace(Document *document, char *text, size_t length)
{
	replace(document, text, length, clock_wall());
	journal_put('U', document);
}

/*
 * Leaves of the document what finds it again: a million large ones then fit in
 * memory.  The journal has it whole.
 */
void
store_forget_body(Document *document)
{
	Buffer		text = {0};

	buffer_literal(&text, "{\"metadata\":{");
	if (document->marker)
	{
		buffer_literal(&text, "\"" MARKER_FIELD "\":");
		buffer_json_text(&text, document->marker);
	}
	buffer_literal(&text, "}}");
	free(document->text);
	document->text = copy_bytes(text.data, text.length);
	document->length = text.length;
	buffer_free(&text);
}

static void
forget(Document *document)
{
	Collection *c = document->collection;

	remove_entries(document);
	remove_from_index(document, INDEX_ID);
	*(document->previous ? &document->previous->next : &c->first) = document->next;
	*(document->next ? &document->next->previous : &c->last) = document->previous;
	c->count--;
	store_totals.documents--;
	free(document->id);
	free(document->text);
	free(document);
}

void
store_delete(Document *document)
{
	journal_put('D', document);
	forget(document);
}

/* Forgets every document; the journal starts anew. */
void
store_clear(void)
{
	for (Collection *c = collections; c; c = c->next)
		while (c->first)
			forget(c->first);
	journal_clear();
}

/* Deletes the documents that were created before that time. */
void
store_expire(double created_before)
{
	for (Collection *c = collections; c; c = c->next)
		while (c->first && c->first->created_at < created_before)
			store_delete(c->first);
}

/* A text of NULL restores a deletion. */
void
store_restore(Collection *collection, const char *id, char *text, size_t length,
			  double created_at, double updated_at)
{
	Document   *document = store_find(collection, id);

	if (!text)
	{
		if (document)
			forget(document);
		return;
	}
	if (document)
	{
		replace(document, text, length, updated_at);
		return;
	}
	document = allocate(sizeof(Document));
	document->id = copy_bytes(id, strlen(id));
	document->collection = collection;
	document->text = text;
	document->length = length;
	document->created_at = created_at;
	document->updated_at = document->enriched_from = updated_at;
	insert(document, json_parse(&scratch, text, length));
}
