/*-------------------------------------------------------------------------
 *
 * statement.h
 *		The extension's own SQL: statements planned once a session.
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
 * Runs a statement with the latest snapshot: between statement_run() and
 * statement_end() SPI_tuptable holds its rows.  Results made by statement_palloc(),
 * statement_text() and statement_lappend() are in the memory context that was current at
 * statement_run().  nulls is as SPI wants it, or NULL.  Raises ERRCODE_INVALID_SCHEMA_NAME where
 * the names in it do not mean the extension's objects.
 */
extern void statement_run(Statement *statement, Datum *args, const char *nulls);
extern void statement_end(void);

extern void *statement_palloc(Size size);
extern char *statement_text(HeapTuple tuple, int column);	/* NULL if null */
extern List *statement_lappend(List *list, void *datum);

/* The first column of all rows, as a List of Oid. */
extern List *statement_oids(void);

/* Arrays for unnest(): a NULL pointer in values becomes a null element. */
extern Datum statement_text_array(char *const *values, int n);
extern Datum statement_oid_array(const Oid *values, int n);

#endif							/* MIXPEEK_STATEMENT_H */
