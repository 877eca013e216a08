/*-------------------------------------------------------------------------
 *
 * mirror.h
 *		What is mirrored, and how: the arguments of a trigger, compiled.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_MIRROR_H
#define MIXPEEK_MIRROR_H

#include "executor/spi.h"
#include "mirror/arguments.h"
#include "mirror/key.h"
#include "mirror/template.h"

typedef struct Mirror
{
	MemoryContext context;		/* of the Mirror and everything it points to */
	Oid			relation;		/* the table that was compiled */
	Oid			owner;
	MirrorArguments arguments;
	char	   *table;			/* logical table's name, see arguments.h; the
								 * table's own if there is a problem */
	char	   *marker_prefix;	/* "origin:table:"; worker and agent only */
	bool		forgotten;		/* new rows may have documents already; worker
								 * only */
	List	   *former_prefixes;	/* of markers that these may have, from
									 * former names of the table, as char * */
	List	   *forgotten_fields;	/* root fields that these may have, as
									 * char *; worker only */
	bool		native;			/* native_can_read(); worker only */
	int			njobs;			/* number of jobs that point here; worker only */
	Size		bytes;			/* size of the context; worker only */
	uint32		namespace_hash; /* hash value of the schema's entry in the
								 * system cache */
	Key		   *key;			/* NULL if the table has none */
	Template   *template;		/* NULL if there is a problem */
	char	   *problem;		/* why no row can be mirrored, or NULL */
	AttrNumber	document_id_attnum; /* write-back columns; 0: none */
	AttrNumber	enrichments_attnum;
} Mirror;

typedef enum MirrorErrors
{
	MIRROR_RAISE_NOTHING,
	MIRROR_RAISE_DEFINITION,	/* what only another definition can mend */
	MIRROR_RAISE_ALL			/* also that the table has no key */
} MirrorErrors;

/*
 * Compile the mirror of rel, which is locked, from a trigger's arguments and its condition
 * WHEN (NULL: none), in a new child of parent.  A mistake in the arguments or the template, a
 * condition, or a missing key, is raised as far as errors says; otherwise its message is left in
 * problem.  The filter is not checked, see filter.h.
 */
extern Mirror *mirror_compile(Relation rel, int nargs, char **args, const char *when,
							  MemoryContext parent, MirrorErrors errors);
extern void mirror_free(Mirror *mirror);

/*
 * Find the row trigger of the relation that mirrors into the collection, and compile it
 * as mirror_compile() does with MIRROR_RAISE_NOTHING.  Returns NULL if there is none.  The caller
 * holds a lock on the relation.
 */
extern Mirror *mirror_find(Oid relation, const char *collection, MemoryContext parent);

/* Return the oid of mixpeek.mirror_row(), InvalidOid if the extension does not exist. */
extern Oid	mirror_function(void);

/* Return a copy of the table's triggers; any catalog access may free the relation's own. */
extern TriggerDesc *mirror_triggers(Relation rel);

/*
 * Check whether a trigger executes mirror_row(), whose oid is function, for the
 * collection; NULL: any collection.
 */
extern bool mirror_is_trigger_into(const Trigger *trigger, Oid function, const char *collection);

/*
 * Raise ERRCODE_INSUFFICIENT_PRIVILEGE unless the current user owns the table.  A mirror
 * sends the owner's rows with the owner's API key, so only the owner may manage it, and
 * not everyone who may create triggers.
 */
extern void mirror_check_owner(Oid relation);

/*
 * Raise what the input functions of the key's types raise for a key's text, as the
 * table's owner.
 */
extern void mirror_check_key(const Mirror *mirror, const char *key);

/* Raise ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE: the table is no longer what was compiled. */
pg_noreturn extern void mirror_raise_changed(const Mirror *mirror);

/*
 * Function that receives the rows read by source_table.h and native_rows.h: the key's text
 * and the columns, both valid during the call only.
 */
typedef void (*MirrorRowFunction) (void *arg, const char *key, const TemplateRow *row);

#endif							/* MIXPEEK_MIRROR_H */
