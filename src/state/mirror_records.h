/*-------------------------------------------------------------------------
 *
 * mirror_records.h
 *		Records of mixpeek.documents by mirror: all those of a table's
 *		documents in one collection.
 *
 * All functions must be called in a transaction.  Where collection may be NULL, this
 * means all collections.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_MIRROR_RECORDS_H
#define MIXPEEK_MIRROR_RECORDS_H

#include "nodes/pg_list.h"

/*
 * Return up to limit keys of a mirror that follow "after" (NULL: from the first one), in the order
 * of the primary key, as a List of char *.
 */
extern List *mirror_records_scan_keys(Oid relation, const char *collection, const char *after, int limit);

/*
 * Delete a table's records.  If the API may have documents of them, the markers' prefix is kept
 * in mixpeek.forgotten, with the names of their fields.
 */
extern void mirror_records_forget(Oid relation, const char *collection);

/*
 * Check whether records of a mirror were forgotten, so that new rows may have documents already.
 * prefix: see remote/marker.h.  *fields are root-level fields of the template's own that these
 * documents may have, as char *.
 */
extern bool mirror_records_were_forgotten(const char *prefix, const char *collection, List **fields);

/*
 * Mark failed records to be tried again: all, or if "error" is not NULL those whose last_error is
 * LIKE it.  Returns their number.
 */
extern int64 mirror_records_retry(Oid relation, const char *collection, const char *error);

/* Mark mirrored records to be polled for enrichments once more.  Returns their number. */
extern int64 mirror_records_refresh(Oid relation, const char *collection);

#endif							/* MIXPEEK_MIRROR_RECORDS_H */
