/*
 * select.h
 *	  Which documents a filter and a search mean.
 */
#ifndef SELECT_H
#define SELECT_H

#include "filter.h"
#include "store.h"

/* Documents in the order of their creation. */
typedef struct Selection
{
	Document  **documents;
	size_t		count;
	size_t		capacity;
	bool		incomplete;		/* documents are missing, for want of a payload index */
} Selection;

extern void filter_select(Selection *selection, const Collection *collection, const Filter *filter,
						  const char *search);
extern void selection_add(Selection *selection, Document *document);
extern void selection_sort(Selection *selection);
extern void selection_free(Selection *selection);

#endif
