/*-------------------------------------------------------------------------
 *
 * metadata.h
 *		The metadata of a document in an answer, beside those that were sent.
 *
 * A PUT replaces metadata in the contracts of 2025-09 and 2026-02, and merges them in that
 * of 2026-10: a name that was not sent stays, and one that is null is removed.  Nothing
 * but the answer tells which it was.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_METADATA_H
#define MIXPEEK_METADATA_H

#include "base/scan.h"
#include "nodes/pg_list.h"

/*
 * Return the names in answered, the metadata of an answer, that are not null there and not in
 * sent, a JSON object that ends anywhere before a NUL.  Both are UTF-8, as are the names (char *),
 * which are palloc'd.  NIL if answered is no object.
 */
extern List *metadata_find_extra(const JsonText *answered, const char *sent);

#endif							/* MIXPEEK_METADATA_H */
