/*-------------------------------------------------------------------------
 *
 * record.h
 *		Records of mixpeek.documents, one at a time, without a statement.
 *
 * Most of what the worker does to the database is to put records in and to change
 * them.  So that goes the way of a logical replication worker: through the
 * table's access method and its indexes, not through the executor.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_DOCUMENT_TABLE_H
#define MIXPEEK_DOCUMENT_TABLE_H

#include "executor/tuptable.h"
#include "storage/itemptr.h"

/* The columns of mixpeek.documents, as the install script creates them. */
enum
{
	DOCUMENT_RELATION, DOCUMENT_COLLECTION, DOCUMENT_KEY, DOCUMENT_DOCUMENT_ID, DOCUMENT_STATE,
	DOCUMENT_ENRICHMENTS, DOCUMENT_CONTENT_HASH, DOCUMENT_ATTEMPTS, DOCUMENT_NEXT_ATTEMPT_AT,
	DOCUMENT_LAST_ERROR, DOCUMENT_CREATED_AT, DOCUMENT_MIRRORED_AT, DOCUMENT_IN_DOUBT, DOCUMENT_ENRICHMENT_POLLS,
	DOCUMENT_SERVER, DOCUMENT_MARKER, DOCUMENT_FEATURES_HASH, DOCUMENT_INTENT_HASH, DOCUMENT_NCOLUMNS
};

typedef struct DocumentTable DocumentTable;

/*
 * Opens the table for a batch of changes; in a transaction.  Raises
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if the table is another version's.
 * What was changed is visible to the transaction's statements after document_table_close().
 */
extern DocumentTable *document_table_open(void);
extern void document_table_close(DocumentTable *table);

/* Memory that is kept until the next document_table_find(), or document_table_close(). */
extern MemoryContext document_table_memory(DocumentTable *table);

/*
 * An empty record for document_table_insert(), all of its columns null; they are numbered from
 * 0.  document_table_insert() puts all of them in, each record's tts_tid says where it is.  Where
 * there is a record with the same key, or somebody is about to put one in, it is not put
 * in, and its tts_tid is not valid.
 */
extern TupleTableSlot *document_table_add(DocumentTable *table);
extern void document_table_insert(DocumentTable *table);

/*
 * The record of a key as it is now, or NULL.  tid is where it was seen last: if it
 * is not there any more, or tid is not valid, the primary key's index tells.
 */
extern TupleTableSlot *document_table_find(DocumentTable *table, ItemPointer tid, Oid relation,
										   const char *collection, const char *key);

/*
 * A copy of the record that was found, and what puts it into its place.  False if
 * somebody else has changed or deleted the record meanwhile: it is to be found again.
 */
extern TupleTableSlot *document_table_change(DocumentTable *table);
extern bool document_table_update(DocumentTable *table);

/* Sets a column; a NULL text makes it null. */
extern void record_set(TupleTableSlot *record, int column, Datum value);
extern void record_set_null(TupleTableSlot *record, int column);
extern void record_set_text(TupleTableSlot *record, int column, const char *text);

#endif							/* MIXPEEK_DOCUMENT_TABLE_H */
