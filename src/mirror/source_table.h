/*-------------------------------------------------------------------------
 *
 * source_table.h
 *		SQL on a mirrored table: its rows are read, its keys scanned, and
 *		documents' ids and enrichments written back.
 *
 * All functions run as the table's owner and raise what the owner's functions,
 * triggers and policies raise.  They run code of users, so they are for processes
 * that have no more rights than the owner (see agent.h); the worker itself reads with
 * native_rows.h.
 *
 * The caller holds a lock on the table, under which the mirror was compiled.  Keys
 * are in the form of key.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_SOURCE_TABLE_H
#define MIXPEEK_SOURCE_TABLE_H

#include "mirror/mirror.h"

/*
 * Read the rows with these keys, and call function(arg, key, row) for each row that
 * was found and matches the filter, in no particular order.  Key and row are valid during the call only.
 * The mirror must have a template, and marker_prefix must be set.
 */
extern void source_table_read_rows(Mirror *mirror, char *const *keys, int nkeys,
								   MirrorRowFunction function, void *arg);

/*
 * Return up to limit keys that come after a key in the key's order, as a List of
 * char * in the current memory context.  The filter is not applied: an error in it is one of the
 * row that is read, and does not keep the scan from the next key.  after may be NULL: start at the first key.
 */
extern List *source_table_scan_keys(Mirror *mirror, const char *after, int limit);

/*
 * Write a document's id and enrichments to the row's write-back columns, unless they
 * hold these values already.  document_id NULL clears both columns; enrichments NULL
 * leaves what is there, or clears it too if clear is set.  Returns false if another session has locked the row; true
 * otherwise, also if there is no such row.  Raises
 * ERRCODE_TRIGGERED_ACTION_EXCEPTION if a trigger of the table suppressed the update.
 */
extern bool source_table_write_back(Mirror *mirror, const char *key,
									const char *document_id, Jsonb *enrichments, bool clear);

/*
 * Check whether source_table_write_back() is changing this row at the moment.  Such a
 * change needs no entry in the outbox: no document depends on write-back columns.
 */
extern bool source_table_is_written_back(Oid relation, const char *key);

#endif							/* MIXPEEK_SOURCE_TABLE_H */
