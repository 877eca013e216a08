/*
 * filter.h
 *	  The filters of list, bulk and batch requests.
 */
#ifndef FILTER_H
#define FILTER_H

#include "store.h"
#include "validate.h"

typedef struct Filter Filter;

extern Filter *filter_compile(Checker *checker, const JsonNode *filters, const char **refusal);
extern bool filter_matches(const Filter *filter, const JsonNode *rendered);
extern void filter_free(Filter *filter);

/* The request's filters, checked; false where the request is answered. */
extern bool request_filter(Request *request, const JsonNode *filters, Filter **filter);

extern const JsonNode *path_first(const JsonNode *root, const char *path);

#endif
