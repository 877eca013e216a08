/*-------------------------------------------------------------------------
 *
 * bounds.h
 *		Limits of a mirror's definition.
 *
 * A table's owner chooses a mirror's arguments, and the worker, which works for
 * all owners, compiles them.  Each limit has an error that names it; the limits are
 * listed in README's section "Limits".
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_BOUNDS_H
#define MIXPEEK_BOUNDS_H

/* Bytes of a collection: together with a key it must fit into an index entry. */
#define MAX_COLLECTION	500

/* Bytes of the argument table=, which is part of every marker: schema.table, both quoted, must fit. */
#define MAX_TABLE_NAME	300

/* Bytes of a template. It is kept in the memory of each session that writes to the table, as part of the trigger. */
#define MAX_TEMPLATE	65536

/* Bytes of the argument filter=. */
#define MAX_FILTER	8192

/* Nesting levels of objects and arrays in a template. */
#define MAX_TEMPLATE_DEPTH	64

/* Bytes of a field's path in a template ("features[0].vectors.embedding"): one is kept for each column. */
#define MAX_TEMPLATE_PATH	300

/* References to columns in a template; "$*" counts as one for each column of the table. */
#define MAX_TEMPLATE_COLUMNS	2000

/* Elements of the array "features" in a template. */
#define MAX_TEMPLATE_FEATURES	1000

/* Bytes of the constant parts of a document: numbers may become longer than they are in the template. */
#define MAX_TEMPLATE_TEXT	262144

/* Mirrors of one table. */
#define MAX_MIRRORS	100

/* Bytes of the arguments "error" of retry() and "key" of preview(). */
#define MAX_ARGUMENT	2000

#endif							/* MIXPEEK_BOUNDS_H */
