/*-------------------------------------------------------------------------
 *
 * document_table.h
 *		Records of mixpeek.documents, changed one by one without SQL statements.
 *
 * Most of the worker's work in the database is inserting and updating records.
 * Like a logical replication worker it uses the table's access method and its
 * indexes directly, without planning and executing a query.
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
	X(DOCUMENT_ENRICHMENTS_CURRENT, "enrichments_current", BOOLOID) \
	X(DOCUMENT_CONTENT_HASH, "content_hash", BYTEAOID) \
	X(DOCUMENT_FEATURES_HASH, "features_hash", BYTEAOID) \
	X(DOCUMENT_INTENT_HASH, "intent_hash", BYTEAOID) \
	X(DOCUMENT_PLACE, "place", INT8OID) \
	X(DOCUMENT_OWNER, "owner", REGROLEOID) \
	X(DOCUMENT_REPLACED_ID, "replaced_id", TEXTOID) \
	X(DOCUMENT_FIELDS, "fields", TEXTARRAYOID)

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
 * Open the table for a batch of changes, in a transaction.  The changes are visible to later
 * statements of the transaction after document_table_close().  Raises ERRCODE_UNDEFINED_OBJECT if the
 * table does not exist, and ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if it is of another version.
 */
extern DocumentTable *document_table_open(void);
extern void document_table_close(DocumentTable *table);

/*
 * Lock the table until the end of the transaction.  document_table_exclude_worker() is for sessions that rewrite
 * records in bulk: it waits for the worker's transaction, and keeps the worker from claiming and settling.
 * document_table_try_lock() is for the worker, which never waits for a session: it returns false if another
 * session has the table locked against changes, whatever for.
 */
extern void document_table_exclude_worker(void);
extern bool document_table_try_lock(void);

/* Return a memory context that is kept until the next document_table_find() or document_table_close(). */
extern MemoryContext document_table_memory(DocumentTable *table);

/*
 * Return a new record whose columns are null, to be filled in by the caller.
 * document_table_insert() inserts all new records and sets their tts_tid.  If there is a record with
 * the same key already, or another transaction is inserting one, the new record is left out
 * and its tts_tid is invalid.
 */
extern TupleTableSlot *document_table_add(DocumentTable *table);
extern void document_table_insert(DocumentTable *table);

/*
 * Return the current record of a key, or NULL if there is none.  tid is the last known place of the
 * record; if it is not there any more, or tid is invalid, the primary key's index is searched.
 */
extern TupleTableSlot *document_table_find(DocumentTable *table, ItemPointer tid, Oid relation,
										   const char *collection, const char *key);

/*
 * Return a copy of the record that was found, to be changed by the caller.
 * document_table_update() stores it and sets its tts_tid.  It returns false if another transaction has
 * changed or deleted the record meanwhile; then the record must be found again.
 */
extern TupleTableSlot *document_table_change(DocumentTable *table);
extern bool document_table_update(DocumentTable *table);

/*
 * Check whether there is a record of a mirror; with server not NULL, whether the first one is of another
 * server.  Runs no statement, so it may be called where the schema has another name.
 */
extern bool document_table_has_mirror(Oid relation, const char *collection, const char *server);

/* Set a column of a record.  A NULL text makes it null. */
extern void record_set(TupleTableSlot *record, DocumentColumn column, Datum value);
extern void record_set_null(TupleTableSlot *record, DocumentColumn column);
extern void record_set_text(TupleTableSlot *record, DocumentColumn column, const char *text);

#endif							/* MIXPEEK_DOCUMENT_TABLE_H */
