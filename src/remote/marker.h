/*-------------------------------------------------------------------------
 *
 * marker.h
 *		The marker: the field of a document that says which row it is of.
 *
 * A marker is "origin:table:key": the uuid of the database that made the
 * document (see state/origin.c), the mirror's logical table name, and the row's
 * key as text.  All documents of a mirror have the same prefix "origin:table:".
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_MARKER_H
#define MIXPEEK_MARKER_H

/* The field of metadata that holds a document's marker. */
#define MARKER_FIELD "mixpeek_docs"

/* The prefix of a record's marker, as an SQL expression on the columns of mixpeek.documents. */
#define MARKER_PREFIX_OF_RECORD "left(marker, length(marker) - length(key))"

/* Return what all markers of a table's mirrors begin with, palloc'd. */
extern char *marker_prefix(const char *origin, const char *table);

/* Return the marker of a key, palloc'd; prefix is that of marker_prefix(). */
extern char *marker_of_key(const char *prefix, const char *key);

/* Check whether a marker is of this origin. */
extern bool marker_is_ours(const char *marker, const char *origin);

#endif							/* MIXPEEK_MARKER_H */
