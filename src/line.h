/*-------------------------------------------------------------------------
 *
 * line.h
 *		Lines of mixpeek.documents, one at a time, without a statement.
 *
 * Most of what the worker does to the database is to put lines in and to change
 * them.  So that goes the way of a logical replication worker: through the
 * table's access method and its indexes, not through the executor.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_LINE_H
#define MIXPEEK_LINE_H

#include "executor/tuptable.h"
#include "storage/itemptr.h"

/* The columns of mixpeek.documents, as the install script creates them. */
enum
{
	LINE_RELATION, LINE_COLLECTION, LINE_KEY, LINE_DOCUMENT_ID, LINE_STATE,
	LINE_ENRICHMENTS, LINE_CONTENT_HASH, LINE_ATTEMPTS, LINE_NEXT_ATTEMPT_AT,
	LINE_LAST_ERROR, LINE_CREATED_AT, LINE_MIRRORED_AT, LINE_IN_DOUBT, LINE_LOOKS,
	LINE_SERVER, LINE_MARKER, LINE_FEATURES_HASH, LINE_INTENT_HASH, LINE_COLUMNS
};

typedef struct Lines Lines;

/*
 * Opens the table for a batch of changes; in a transaction.  Raises
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if the table is another version's.
 * What was changed is visible to the transaction's statements after lines_close().
 */
extern Lines *lines_open(void);
extern void lines_close(Lines *lines);

/* Memory that is kept until the next lines_find(), or lines_close(). */
extern MemoryContext lines_memory(Lines *lines);

/*
 * An empty line for lines_insert(), all of its columns null; they are numbered from
 * 0.  lines_insert() puts all of them in, each line's tts_tid says where it is.  Where
 * there is a line with the same key, or somebody is about to put one in, it is not put
 * in, and its tts_tid is not valid.
 */
extern TupleTableSlot *lines_add(Lines *lines);
extern void lines_insert(Lines *lines);

/*
 * The line of a key as it is now, or NULL.  tid is where it was seen last: if it
 * is not there any more, or tid is not valid, the primary key's index tells.
 */
extern TupleTableSlot *lines_find(Lines *lines, ItemPointer tid, Oid relation,
								  const char *collection, const char *key);

/*
 * A copy of the line that was found, and what puts it into its place.  False if
 * somebody else has changed or deleted the line meanwhile: it is to be found again.
 */
extern TupleTableSlot *lines_change(Lines *lines);
extern bool lines_update(Lines *lines);

/* Sets a column; a NULL text makes it null. */
extern void line_set(TupleTableSlot *line, int column, Datum value);
extern void line_set_null(TupleTableSlot *line, int column);
extern void line_set_text(TupleTableSlot *line, int column, const char *text);

#endif							/* MIXPEEK_LINE_H */
