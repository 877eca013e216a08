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
	MemoryContext context;		/* everything below lives in it */
	Oid			relation;		/* topmost mirrored table, as stored */
	Oid			owner;
	MirrorArguments arguments;
	char	   *table;			/* the logical table's name; its own if there
								 * is a problem */
	char	   *marker_prefix;	/* "origin:table:", worker only */
	bool		forgotten;		/* new rows may have documents already, worker
								 * only */
	bool		native;			/* read by PostgreSQL's own code only, see
								 * rows.h; worker only */
	int			njobs;			/* that point to it, worker only */
	Size		bytes;			/* of the context, worker only */
	uint32		namespace_hash; /* of the schema in the system cache */
	Key		   *key;			/* NULL if the table has none */
	Template   *template;		/* NULL if it is broken; see problem */
	char	   *problem;		/* why no row can be mirrored, or NULL */
	AttrNumber	document_id_attnum; /* 0: none */
	AttrNumber	enrichments_attnum;
} Mirror;

/*
 * Compiles the mirror of rel in a new child of parent.  A mistake in the
 * arguments or the template, or a missing key, is left in problem; if raise is
 * set it is raised.
 */
extern Mirror *mirror_compile(Relation rel, int nargs, char **args,
							  MemoryContext parent, bool raise);
extern void mirror_free(Mirror *mirror);

/* Once a backend, from _PG_init(). */
extern void mirror_init(void);

/* Oid of mixpeek.mirror_row(), InvalidOid if there is none. */
extern Oid	mirror_function(void);

/* Raises what is wrong with a key's text, for the table's key columns as they are now. */
extern void mirror_check_key(const Mirror *mirror, const char *key);

/* A copy of the table's triggers: the relation's own may vanish with any catalog access. */
extern TriggerDesc *mirror_triggers(Relation rel);

/* The topmost table whose trigger this one is a partition's copy of. */
extern Oid	mirror_topmost_relation(Oid trigger);

/*
 * Finds the trigger that mirrors the relation into the collection and compiles
 * it.  NULL if there is none.  The caller holds a lock on the relation.
 */
extern Mirror *mirror_find(Oid relation, const char *collection, MemoryContext parent);

/*
 * Reads rows by key as the table's owner, for each found calls function with
 * its key (as text) and its columns, valid during the call.  Raises what the
 * owner's functions raise.
 */
typedef void (*MirrorRowFunction) (void *arg, const char *key, const TemplateRow *row);

extern void mirror_read_rows(Mirror *mirror, char *const *keys, int nkeys,
							 MirrorRowFunction function, void *arg);

/* Raises that the table is not what was compiled any more. */
pg_noreturn extern void mirror_raise_changed(const Mirror *mirror);

/*
 * Up to limit keys that follow "after" in key order (NULL: from the first), as a
 * List of char *, read as the table's owner.
 */
extern List *mirror_scan_keys(Mirror *mirror, const char *after, int limit);

/*
 * Puts the document's id and enrichments into the row's own columns, as the
 * table's owner.  Does nothing if they are there.  Returns false if the row is
 * locked by somebody.
 */
extern bool mirror_write_back(Mirror *mirror, const char *key,
							  const char *document_id, Jsonb *enrichments);


/*
 * Is it mirror_write_back() that changes this row?  No mirror of its table is
 * told: the documents do not depend on what comes back.
 */
extern bool mirror_is_written_back(Oid relation, const char *key);

#endif							/* MIXPEEK_MIRROR_H */
