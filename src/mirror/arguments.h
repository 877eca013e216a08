/*-------------------------------------------------------------------------
 *
 * arguments.h
 *		The arguments of a mirror's trigger.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_ARGUMENTS_H
#define MIXPEEK_ARGUMENTS_H

#include "utils/rel.h"

/* The server of a mirror whose trigger names none. */
#define DEFAULT_SERVER_NAME "mixpeek"

/* A mirror trigger's arguments, decoded. */
typedef struct MirrorArguments
{
	char	   *collection;
	char	   *server;
	char	   *document;		/* JSON text, or NULL */
	char	   *document_id_column; /* or NULL */
	char	   *enrichments_column; /* or NULL */
	char	   *table;			/* logical table's name, or NULL */
	char	   *filter;			/* expression that a row must match, or NULL */
} MirrorArguments;

/*
 * Decode a trigger's arguments into a zeroed struct, in the current memory context.  Raises
 * ERRCODE_INVALID_PARAMETER_VALUE for invalid arguments, with the list of options as
 * HINT, and ERRCODE_PROGRAM_LIMIT_EXCEEDED for arguments that are too long (see
 * bounds.h).
 */
extern void arguments_decode(MirrorArguments *arguments, int nargs, char **args);

/*
 * Fill in what stands for arguments that cannot be decoded: defaults, and the
 * collection, truncated to its maximum length.
 */
extern void arguments_default(MirrorArguments *arguments, int nargs, char **args);

/*
 * Check whether a text can be the name of a collection.  Otherwise no row can ever be
 * mirrored into it.
 */
extern bool arguments_is_collection(const char *collection);

/*
 * Return the value of the argument with this name, as a pointer into args, unchecked;
 * NULL if there is none.
 */
extern const char *arguments_find(int nargs, char **args, const char *name);

/*
 * Return the logical table's name as it is part of a marker: that of the argument
 * table=, or else rel's own.  Raises ERRCODE_INVALID_NAME unless the argument is schema.table,
 * and ERRCODE_INSUFFICIENT_PRIVILEGE unless rel's owner owns a table of this name or
 * could create it: the marker decides whose document it is.
 */
extern char *arguments_table(const MirrorArguments *arguments, Relation rel);

/*
 * Return the same for a trigger whose arguments may be invalid, without a check of rights; NULL if there
 * is no such name.
 */
extern char *arguments_find_table(Oid relation, int nargs, char **args);

#endif							/* MIXPEEK_ARGUMENTS_H */
