/*-------------------------------------------------------------------------
 *
 * key.h
 *		A row's key as text: the value of one column, the row text of several.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_KEY_H
#define MIXPEEK_KEY_H

#include "executor/tuptable.h"
#include "fmgr.h"
#include "utils/rel.h"

typedef struct KeyColumn
{
	AttrNumber	attnum;			/* in the relation that was compiled */
	char	   *name;
	Oid			type;			/* base type of a domain, whose checks are not
								 * run */
	int32		typmod;
	Oid			equals;			/* the index's operators */
	Oid			greater;
	FmgrInfo	output;
	FmgrInfo	input;
	Oid			ioparam;
} KeyColumn;

typedef struct Key
{
	Oid			index;
	int			ncolumns;
	KeyColumn  *columns;
	bool		pin_settings;	/* does the text depend on settings? */
	bool		pin_names;		/* and on the search path, or on the locale of
								 * money? */
} Key;

/*
 * The index by which rel's rows are found: its primary key's, or else its replica
 * identity.  InvalidOid if it has neither.
 */
extern Oid	key_index(Relation rel);

/*
 * The columns of that index, in the current memory context.  NULL if there is none,
 * or none that knows what is equal.
 */
extern Key *key_of_relation(Relation rel);

/* The key's text, palloc'd.  values and nulls are those of the key's columns. */
extern char *key_to_text(const Key *key, const Datum *values);

/* Its inverse; raises what the types' input functions raise. */
extern void key_from_text(const Key *key, const char *text, Datum *values);

/*
 * The longest key that is stored whole, in bytes.  Together with the collection it must fit into an
 * entry of the primary key's index on mixpeek.documents, which has room for some 2,700 bytes.
 */
#define MAX_KEY_BYTES		2000

/*
 * Return the text that is stored for a key: the key itself, or if it is longer than MAX_KEY_BYTES its
 * beginning with its length and hash, palloc'd.  key_from_text() cannot read the latter.
 */
extern const char *key_abbreviate(const char *key);

/* A regular expression, as an SQL string, for the keys that key_abbreviate() has shortened. */
#define KEY_ABBREVIATED_PATTERN "'\\.\\.\\. \\(\\d+ bytes, hash [0-9a-f]{16}\\)$'"

/*
 * Has a column the same bytes in two rows?  Equal values that are stored differently
 * count as different: that costs the worker a look, nothing more.
 */
extern bool key_same_column(TupleTableSlot *old, TupleTableSlot *new, AttrNumber attnum);

#endif							/* MIXPEEK_KEY_H */
