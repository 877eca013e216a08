/*-------------------------------------------------------------------------
 *
 * marker.h
 *		The marker: the field of a document that says which row it is of.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_MARKER_H
#define MIXPEEK_MARKER_H

/* The field of metadata that holds a document's marker. */
#define MARKER_FIELD "mixpeek_docs"

#endif							/* MIXPEEK_MARKER_H */
