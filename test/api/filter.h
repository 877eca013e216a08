/*
 * filter.h
 *	  The filters of list, bulk and batch requests.
 */
#ifndef FILTER_H
#define FILTER_H

#include "store.h"
#include "validate.h"

typedef struct Filter Filter;

/* Documents in the order of their creation. */
typedef struct Selection
{
	Document  **documents;
	size_t		count;
	size_t		capacity;
} Selection;

extern Filter *filter_compile(Checker *checker, const JsonNode *filters, const char **refusal);
extern bool filter_matches(const Filter *filter, const JsonNode *rendered);
extern void filter_free(Filter *filter);

extern void filter_select(Selection *selection, const Collection *collection, const Filter *filter,
						  const char *search);
extern void selection_add(Selection *selection, Document *document);
extern void selection_free(Selection *selection);

/* The request's filters, checked; false where the request is answered. */
extern bool request_filter(Request *request, const JsonNode *filters, Filter **filter);

extern const JsonNode *path_first(const JsonNode *root, const char *path);

#endif
