/*-------------------------------------------------------------------------
 *
 * mirror_trigger.h
 *		Triggers that mirror() creates, and those that it finds and keeps.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_MIRROR_TRIGGER_H
#define MIXPEEK_MIRROR_TRIGGER_H

#include "utils/rel.h"

/* A trigger that executes mirror_row(), copied from its table's descriptor. */
typedef struct MirrorTrigger
{
	char	   *name;
	int16		type;			/* to be tested with TRIGGER_FOR_ROW() etc. */
	char		enabled;		/* as pg_trigger.tgenabled */
	List	   *columns;		/* of UPDATE OF, as char *; NIL: all */
	int			nargs;
	char	  **args;
	char	   *when;			/* condition as a node tree's text, or NULL */
} MirrorTrigger;

/* An option of mirror(), as it is named in a trigger's arguments. */
typedef struct MirrorOption
{
	const char *name;
	char	   *value;			/* NULL: not named, so what is there is kept */
	bool		is_default;		/* the value means that there is no argument */
} MirrorOption;

/* Run a utility statement. */
extern void mirror_trigger_run_utility(const char *sql);

/* Return the triggers of a table that mirror into the collection, as a List of MirrorTrigger. */
extern List *mirror_trigger_list(Relation rel, const char *collection, bool for_row);

/* Return a trigger that is to be created, with all events and no argument but the collection. */
extern MirrorTrigger *mirror_trigger_new(Relation rel, char *collection, bool for_row);

/*
 * Return a copy of a trigger with these options set: those that are named replace what is there.
 * A condition WHEN is removed if the option filter is named.
 */
extern MirrorTrigger *mirror_trigger_with_options(const MirrorTrigger *trigger,
												  const MirrorOption *options, int noptions);

/* Check whether two triggers have the same arguments and condition. */
extern bool mirror_trigger_is_same(const MirrorTrigger *a, const MirrorTrigger *b);

/*
 * Create the trigger (NULL: none), or replace the one of its name.  Events, columns and state of the given
 * trigger, and the states of its clones in partitions, are kept.  The caller holds a lock on the table,
 * and has not opened it.  Raises what CREATE TRIGGER raises.
 */
extern void mirror_trigger_create(const MirrorTrigger *trigger, Oid relation);

#endif							/* MIXPEEK_MIRROR_TRIGGER_H */
