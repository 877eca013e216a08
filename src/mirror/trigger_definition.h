/*-------------------------------------------------------------------------
 *
 * trigger_definition.h
 *		Triggers as pg_trigger has them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_TRIGGER_DEFINITION_H
#define MIXPEEK_TRIGGER_DEFINITION_H

#include "utils/snapshot.h"

typedef struct TriggerDefinition
{
	Oid			relation;
	Oid			function;
	Oid			parent;			/* trigger of the partitioned table that this
								 * one was cloned from; InvalidOid: none */
	int16		type;			/* to be tested with TRIGGER_FOR_ROW() etc. */
	int			nargs;
	char	  **args;
	int			ncolumns;		/* of UPDATE OF; 0: all columns */
	AttrNumber *columns;
	char	   *when;			/* condition WHEN (...) as a node tree's text,
								 * or NULL */
} TriggerDefinition;

/*
 * Read a trigger by its oid.  Returns NULL if there is none; the result is in the
 * current memory context.  With snapshot NULL the catalog's own is used; SnapshotSelf
 * also shows a trigger that the running command has just made.
 */
extern TriggerDefinition *trigger_definition_read(Oid trigger, Snapshot snapshot);

/* Read a trigger that the current transaction has dropped.  Returns NULL if it has not dropped it. */
extern TriggerDefinition *trigger_definition_read_dropped(Oid trigger);

/*
 * Count the triggers of a table that execute a function, either those for each row or
 * those for each statement.  Partitions' clones are not counted.
 */
extern int	trigger_definition_count(Oid relation, Oid function, bool for_row);

/*
 * Return the table on which a trigger was created: its own, or, for a partition's
 * clone, the topmost table with the trigger.  InvalidOid if there is no such trigger.
 */
extern Oid	trigger_definition_topmost_relation(Oid trigger);

#endif							/* MIXPEEK_TRIGGER_DEFINITION_H */
