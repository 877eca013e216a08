/*-------------------------------------------------------------------------
 *
 * query.h
 *		The extension's own SQL: statements planned once a session.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_QUERY_H
#define MIXPEEK_QUERY_H

#include "executor/spi.h"
#include "nodes/pg_list.h"

#define QUERY_MAX_ARGS 20

typedef struct Statement
{
	const char *sql;
	int			nargs;
	Oid			types[QUERY_MAX_ARGS];
	SPIPlanPtr	plan;			/* made at the first run, kept for the session */
} Statement;

/* From _PG_init(). */
extern void query_init(void);

/*
 * Runs a statement with the latest snapshot: between query_run() and
 * query_end() SPI_tuptable holds its rows.  Results made by query_palloc(),
 * query_text() and query_lappend() are in the memory context that was current at
 * query_run().  nulls is as SPI wants it, or NULL.  Raises ERRCODE_INVALID_SCHEMA_NAME where
 * the names in it do not mean the extension's objects.
 */
extern void query_run(Statement *query, Datum *args, const char *nulls);
extern void query_end(void);

extern void *query_palloc(Size size);
extern char *query_text(HeapTuple tuple, int column);	/* NULL if null */
extern List *query_lappend(List *list, void *datum);

/* The first column of all rows, as a List of Oid. */
extern List *query_oids(void);

/* Arrays for unnest(): a NULL pointer in values becomes a null element. */
extern Datum query_text_array(char *const *values, int n);
extern Datum query_oid_array(const Oid *values, int n);

#endif							/* MIXPEEK_QUERY_H */
