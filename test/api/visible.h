/*
 * visible.h
 *	  When a document is known by its id, and when lists and filters have it.
 */
#ifndef VISIBLE_H
#define VISIBLE_H

#include "store.h"

extern void visible_begin(Document *document);
extern bool visible_all(void);
extern bool visible_by_id(const Document *document);
extern bool visible_in_lists(const Document *document);
extern bool visible_since(const Document *document, double *when);

#endif
