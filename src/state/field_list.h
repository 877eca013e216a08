/*-------------------------------------------------------------------------
 *
 * field_list.h
 *		Lists of root-level fields of documents: a List of char *, without
 *		duplicates.
 *
 * The functions that return a list allocate it, and its names, in the current
 * memory context.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_FIELD_LIST_H
#define MIXPEEK_FIELD_LIST_H

#include "nodes/pg_list.h"

/* Return the names in an array of type text[]. */
extern List *field_list_of_array(Datum array);

/* Return an array of type text[]; there is at least one name. */
extern Datum field_list_to_array(const List *fields);

extern bool field_list_has(const List *fields, const char *name);

/* Return the fields of a that are in b, or (in = false) are not. */
extern List *field_list_select(const List *a, const List *b, bool in);

/* Return the fields that are in a, in b, or in both. */
extern List *field_list_union(const List *a, const List *b);

#endif							/* MIXPEEK_FIELD_LIST_H */
