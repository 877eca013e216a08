/*-------------------------------------------------------------------------
 *
 * bounds.h
 *		How much of everything a mirror's definition may have.
 *
 * Whoever owns a table decides what a mirror's arguments are, and everybody's
 * worker compiles them.  Each bound has an error that names it; README's section
 * "Limits" lists them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_BOUNDS_H
#define MIXPEEK_BOUNDS_H

/* Bytes of a collection: with a key it must fit into an index. */
#define MAX_COLLECTION	500

/* Bytes of the argument table=: it stands in every marker. Room for schema.table, both quoted. */
#define MAX_TABLE_NAME	300

/* Bytes of a template's text. Every session that writes to the table keeps it, as part of the trigger. */
#define MAX_TEMPLATE	65536

/* How deep a template's objects and arrays nest. */
#define MAX_TEMPLATE_DEPTH	64

/* Bytes of a field's path in a template ("features[0].vectors.embedding"): one is kept for each column. */
#define MAX_TEMPLATE_PATH	300

/* Columns that a template sends, each as often as it stands there; "$*" is all of the table's. */
#define MAX_TEMPLATE_COLUMNS	2000

/* Elements of a template's features. */
#define MAX_TEMPLATE_FEATURES	1000

/* Bytes of all that a template sends besides columns: numbers may be longer than they were written. */
#define MAX_TEMPLATE_TEXT	262144

/* Mirrors of one table. */
#define MAX_MIRRORS	100

/* Bytes of retry()'s pattern, and of preview()'s key. */
#define MAX_ARGUMENT	2000

#endif							/* MIXPEEK_BOUNDS_H */
