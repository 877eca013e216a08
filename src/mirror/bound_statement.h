/*-------------------------------------------------------------------------
 *
 * bound_statement.h
 *		Statements that run on one table, whatever its name means by then.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_BOUND_STATEMENT_H
#define MIXPEEK_BOUND_STATEMENT_H

#include "executor/spi.h"

/* Install the hook that checks the statements; called once a backend, by _PG_init(). */
extern void bound_statement_init(void);

/*
 * Plan and run a statement, which leaves its result as SPI_execute_extended() does.
 * The only table in its text is relation.  Raises
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if the name in the text means another
 * table.  SPI must be connected.
 */
extern void bound_statement_run(Oid relation, const char *sql, const SPIExecuteOptions *options);

#endif							/* MIXPEEK_BOUND_STATEMENT_H */
