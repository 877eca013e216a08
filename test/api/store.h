/*
 * store.h
 *	  The documents, in memory, by namespace and collection.
 *
 * A document is the JSON object that created it, with later updates worked
 * in.  Each collection has two indexes: by document id, and by the text of
 * metadata.mixpeek_docs, the marker by which the extension finds its own.
 */
#ifndef STORE_H
#define STORE_H

#include <stdint.h>

#include "json.h"

#define MARKER_FIELD "mixpeek_docs"
#define DOCUMENT_ID_LENGTH 28	/* doc_ and 24 hexadecimal digits */

typedef struct Link
{
	struct Document *next;
	uint64_t	hash;
} Link;

typedef struct Document
{
	char		id[DOCUMENT_ID_LENGTH + 1];
	struct Collection *collection;
	char	   *text;
	size_t		length;
	char	   *marker;			/* NULL: has none */
	size_t		marker_length;
	double		created_at;		/* unix time */
	double		updated_at;
	uint64_t	sequence;		/* order of creation */
	struct Document *next;		/* in that order */
	struct Document *previous;
	Link		by_id;
	Link		by_marker;
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
	Index		ids;
	Index		markers;
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
extern Document *store_create(Collection *collection, char *text, size_t length, const JsonNode *root);
extern Document *store_find(const Collection *collection, const char *id);
extern void store_replace(Document *document, char *text, size_t length);
extern void store_forget_body(Document *document);
extern void store_delete(Document *document);
extern void store_clear(void);
extern Document *store_marker_first(const Collection *collection, const char *marker, size_t length);
extern Document *store_marker_next(const Document *document);

/* For the journal's replay: the same, with what was decided then. */
extern void store_restore(Collection *collection, const char *id, char *text, size_t length,
						  double created_at, double updated_at);

#endif
