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

/* A mirror trigger's arguments, decoded. */
typedef struct MirrorArguments
{
	char	   *collection;
	char	   *server;
	char	   *document;		/* JSON text, or NULL */
	char	   *document_id_column; /* or NULL */
	char	   *enrichments_column; /* or NULL */
	char	   *table;			/* logical table's name, or NULL */
} MirrorArguments;

/*
 * Decodes arguments into what has been zeroed.  Raises ERRCODE_INVALID_PARAMETER_VALUE for what
 * they must not be, with the list of options as HINT, and ERRCODE_PROGRAM_LIMIT_EXCEEDED for
 * what is too long (see bounds.h).
 */
extern void arguments_decode(MirrorArguments *arguments, int nargs, char **args);

/*
 * Fills in what stands for arguments that cannot be decoded: the collection as far as it can be
 * one, and defaults.
 */
extern void arguments_default(MirrorArguments *arguments, int nargs, char **args);

/* Can it be the name of a collection? If not, nothing can ever be mirrored into it. */
extern bool arguments_is_collection(const char *collection);

/* The value of an argument by its name, within args, or NULL; nothing is checked. */
extern const char *arguments_find(int nargs, char **args, const char *name);

/*
 * The logical table's name as a marker has it.  Raises ERRCODE_INVALID_NAME unless it is
 * schema.table, and ERRCODE_INSUFFICIENT_PRIVILEGE unless it is the name of a table that rel's
 * owner owns, or could create: documents are told apart by it.
 */
extern char *arguments_table(const MirrorArguments *arguments, Relation rel);

#endif							/* MIXPEEK_ARGUMENTS_H */
