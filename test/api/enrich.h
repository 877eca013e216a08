/*
 * enrich.h
 *	  What the API would find out about a document, made up from its metadata:
 *	  the same metadata always gets the same.
 */
#ifndef ENRICH_H
#define ENRICH_H

#include "store.h"

extern void enrich_begin(Document *document);
extern bool enrich_ready(const Document *document);
extern void enrich_render(Buffer *into, const Document *document, const JsonNode *root);
extern void enrich_render_flat(Buffer *into, const Document *document, const JsonNode *root);

#endif
