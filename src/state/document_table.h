/*-------------------------------------------------------------------------
 *
 * document_table.h
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

/*
 * The columns of mixpeek.documents, in the order of the install script: X(number, name, type).
 * Everything that lists the columns is made from this list; document_table_open() compares it
 * with the table.
 */
#define DOCUMENT_COLUMNS(X) \
	X(DOCUMENT_RELATION, "relation", REGCLASSOID) \
	X(DOCUMENT_COLLECTION, "collection", TEXTOID) \
	X(DOCUMENT_KEY, "key", TEXTOID) \
	X(DOCUMENT_DOCUMENT_ID, "document_id", TEXTOID) \
	X(DOCUMENT_ENRICHMENTS, "enrichments", JSONBOID) \
	X(DOCUMENT_SERVER, "server", TEXTOID) \
	X(DOCUMENT_MARKER, "marker", TEXTOID) \
	X(DOCUMENT_CREATED_AT, "created_at", TIMESTAMPTZOID) \
	X(DOCUMENT_MIRRORED_AT, "mirrored_at", TIMESTAMPTZOID) \
	X(DOCUMENT_STATE, "state", TEXTOID) \
	X(DOCUMENT_LAST_ERROR, "last_error", TEXTOID) \
	X(DOCUMENT_NEXT_ATTEMPT_AT, "next_attempt_at", TIMESTAMPTZOID) \
	X(DOCUMENT_ATTEMPTS, "attempts", INT4OID) \
	X(DOCUMENT_ENRICHMENT_POLLS, "enrichment_polls", INT2OID) \
	X(DOCUMENT_IN_DOUBT, "in_doubt", BOOLOID) \
	X(DOCUMENT_CONTENT_HASH, "content_hash", BYTEAOID) \
	X(DOCUMENT_FEATURES_HASH, "features_hash", BYTEAOID) \
	X(DOCUMENT_INTENT_HASH, "intent_hash", BYTEAOID)

/* Indexes into tts_values, from 0. */
#define DOCUMENT_COLUMN_NUMBER(number, name, type) number,
typedef enum DocumentColumn
{
	DOCUMENT_COLUMNS(DOCUMENT_COLUMN_NUMBER)
	DOCUMENT_NCOLUMNS
} DocumentColumn;
#undef DOCUMENT_COLUMN_NUMBER

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
extern void record_set(TupleTableSlot *record, DocumentColumn column, Datum value);
extern void record_set_null(TupleTableSlot *record, DocumentColumn column);
extern void record_set_text(TupleTableSlot *record, DocumentColumn column, const char *text);

#endif							/* MIXPEEK_DOCUMENT_TABLE_H */
