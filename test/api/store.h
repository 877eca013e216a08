/*
 * store.h
 *	  The documents, in memory, by namespace and collection.
 *
 * A document is the JSON object that created it, with later updates worked
 * in.  Each collection has indexes: by document id, by the marker by which the
 * extension finds its own, and by the ids of objects that a document is of.
 */
#ifndef STORE_H
#define STORE_H

#include <stdint.h>

#include "json.h"

#define MARKER_FIELD "mixpeek_docs"

typedef struct Link
{
	struct Document *next;
	uint64_t	hash;
} Link;

/* What becomes of the enrichments that enrich.c makes up. */
typedef enum Enriched
{
	ENRICHED_COMPUTED,			/* they are shown, when it is time */
	ENRICHED_STORED,			/* they are in the text */
	ENRICHED_NONE				/* a write has removed them */
} Enriched;

typedef enum StoreIndex
{
	INDEX_ID, INDEX_MARKER, INDEX_ROOT_OBJECT, INDEX_SOURCE_OBJECT,
	INDEXES
} StoreIndex;

typedef struct Document
{
	char	   *id;
	struct Collection *collection;
	char	   *text;
	size_t		length;
	char	   *marker;			/* NULL: has none */
	size_t		marker_length;
	double		created_at;		/* unix time */
	double		updated_at;
	double		enriched_from;	/* when the content was written that they are of */
	Enriched	enriched;		/* not in the journal, as is the following */
	bool		by_user;		/* created by a key whose scope is a user */
	uint64_t	sequence;		/* order of creation */
	struct Document *next;		/* in that order */
	struct Document *previous;
	Link		links[INDEXES];
	bool		indexed[INDEXES];
} Document;

typedef struct Index
{
	Document  **buckets;
	size_t		mask;
	size_t		count;
	size_t		link_offset;
} Index;

typedef struct Collection
{
	char	   *namespace;
	char	   *name;
	Document   *first;
	Document   *last;
	size_t		count;
	Index		indexes[INDEXES];
	struct Collection *next;
} Collection;

typedef struct StoreTotals
{
	long		documents;
	long		markers;		/* distinct ones, collection by collection */
	long		duplicates;		/* documents that share theirs */
} StoreTotals;

extern StoreTotals store_totals;

extern void store_start(void);
extern Collection *store_collection(const char *namespace, const char *identifier, bool create);
extern Collection *store_collection_anywhere(const char *identifier);
extern Collection *store_collections(void);
extern Document *store_create(Collection *collection, const char *id, char *text, size_t length,
							  const JsonNode *root);
extern Document *store_find(const Collection *collection, const char *id);
extern Document *store_find_in_namespace(const char *namespace, const char *id);
extern void store_replace(Document *document, char *text, size_t length);
extern void store_forget_body(Document *document);
extern void store_delete(Document *document);
extern void store_clear(void);
extern void store_expire(double created_before);
extern Document *store_first(const Collection *collection, StoreIndex which, const char *text, size_t length);
extern Document *store_next(const Document *document, StoreIndex which);

/* For the journal's replay: the same, with what was decided then. */
extern void store_restore(Collection *collection, const char *id, char *text, size_t length,
						  double created_at, double updated_at);

#endif
