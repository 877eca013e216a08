/*-------------------------------------------------------------------------
 *
 * statement.h
 *		The extension's own SQL: statements that are planned once per session.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_STATEMENT_H
#define MIXPEEK_STATEMENT_H

#include "executor/spi.h"
#include "nodes/pg_list.h"

#define STATEMENT_MAX_ARGS 20

typedef struct Statement
{
	const char *sql;
	int			nargs;
	Oid			types[STATEMENT_MAX_ARGS];
	SPIPlanPtr	plan;			/* made at the first run, kept for the session */
} Statement;

/* From _PG_init(). */
extern void statement_init(void);

/*
 * Run a statement with the latest snapshot.  Between statement_run() and
 * statement_end() SPI_tuptable holds its rows; statements do not nest.  Results made by
 * statement_palloc(), statement_text(), statement_oids() and statement_lappend() are in the
 * memory context that was current at statement_run().  nulls is in SPI's format, or NULL.
 * Raises ERRCODE_INVALID_SCHEMA_NAME if a name in the statement does not refer to an object of
 * the extension, and ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if a table has a rule.
 */
extern void statement_run(Statement *statement, Datum *args, const char *nulls);
extern void statement_end(void);

/* Run a statement to its end; return the number of rows that it returned or changed. */
extern int64 statement_execute(Statement *statement, Datum *args, const char *nulls);

/* Allocate zeroed memory for results. */
extern void *statement_palloc(Size size);

/* Return a text column of a row, palloc'd, or NULL if it is null.  Columns are numbered from 1. */
extern char *statement_text(HeapTuple tuple, int column);

/* Return a column of a row; rows are numbered from 0.  It must not be null, unless isnull is given. */
extern Datum statement_value(uint64 row, int column, bool *isnull);

/* lappend() in the memory context of the results. */
extern List *statement_lappend(List *list, void *datum);

/* Return the first column of all rows, as a List of Oid. */
extern List *statement_oids(void);

/* Make arrays for unnest(): a NULL pointer in values becomes a null element. */
extern Datum statement_text_array(char *const *values, int n);
extern Datum statement_oid_array(const Oid *values, int n);

#endif							/* MIXPEEK_STATEMENT_H */
