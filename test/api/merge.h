/*
 * merge.h
 *	  A document's text with an update worked in.
 */
#ifndef MERGE_H
#define MERGE_H

#include "json.h"

extern void merge_replace(Buffer *into, const JsonNode *stored, const JsonNode *update);
extern void merge_metadata(Buffer *into, const JsonNode *stored, const JsonNode *update);
extern void merge_paths(Buffer *into, const JsonNode *stored, const JsonNode *update, bool whole);
extern void merge_before(Buffer *into, const JsonNode *stored, const char *name);
extern void merge_set(Buffer *into, const JsonNode *stored, const char *path, const JsonNode *value,
					  bool whole);
extern const char *merge_refused_field(const JsonNode *update);

#endif
