/*-------------------------------------------------------------------------
 *
 * definition.h
 *		A mirror's definition: its trigger, as pg_trigger has it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_DEFINITION_H
#define MIXPEEK_DEFINITION_H

#include "utils/snapshot.h"

typedef struct Definition
{
	Oid			relation;
	Oid			function;
	Oid			parent;			/* of a partition's copy */
	int16		type;			/* see TRIGGER_FOR_ROW() and the like */
	int			nargs;
	char	  **args;
	int			ncolumns;		/* of UPDATE OF; 0: all */
	AttrNumber *columns;
} Definition;

/*
 * Reads a trigger by its oid, in the current memory context.  NULL if there is none.  snapshot
 * may be NULL: the catalogs' own; SnapshotSelf shows what the running command has just made.
 */
extern Definition *definition_read(Oid trigger, Snapshot snapshot);

/* Reads a trigger that the current transaction has dropped, as it was.  NULL if it has not. */
extern Definition *definition_read_dropped(Oid trigger);

/* How many triggers of a table execute a function, for each row or for statements. */
extern int	definition_count(Oid relation, Oid function, bool for_row);

#endif							/* MIXPEEK_DEFINITION_H */
