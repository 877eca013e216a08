/*
 * namespace.h
 *	  Namespaces and collections as things of their own: payload indexes, counts.
 */
#ifndef NAMESPACE_H
#define NAMESPACE_H

#include "request.h"

extern bool namespace_has_index(const char *namespace, const char *field);
extern void namespace_get(Request *request);
extern void namespace_patch(Request *request);
extern void namespace_ensure_indexes(Request *request);
extern bool collection_takes(Request *request);
extern void collection_get(Request *request);
extern void collection_lifecycle(Request *request);

#endif
