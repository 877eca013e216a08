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
	Oid			type;			/* base type of a domain; the domain's checks
								 * are not run */
	bool		is_domain;		/* the column's own type is a domain */
	int32		typmod;
	Oid			equals;			/* =, < and > of the index's operator class */
	Oid			less;
	Oid			greater;
	Oid			collation;		/* the index's, if it is not the column's own;
								 * else InvalidOid */
	bool		descending;		/* in the index */
	bool		nulls_first;
	FmgrInfo	output;			/* functions of the type */
	FmgrInfo	input;
	Oid			ioparam;
} KeyColumn;

typedef struct Key
{
	Oid			index;
	int			ncolumns;
	KeyColumn  *columns;
	bool		pin_settings;	/* the text depends on settings */
	bool		pin_names;		/* it depends also on the search path or the
								 * locale */
} Key;

/*
 * Return the index by which rel's rows are found: that of the primary key, which may be
 * deferrable, or else the replica identity index.  InvalidOid if there is neither.
 */
extern Oid	key_index(Relation rel);

/*
 * Return the key that key_index() gives, in the current memory context.  NULL if there is
 * no such index, or its operator classes lack the operators of a btree (WITHOUT OVERLAPS).
 */
extern Key *key_of_relation(Relation rel);

/*
 * Return a key of columns of these types, in the current memory context, for key_to_text()
 * only: it has no index and no operators.
 */
extern Key *key_of_types(int n, const AttrNumber *attnums, const Oid *types, const int32 *typmods);

/* Return the text of a key, palloc'd; values are those of its columns, none of them null. */
extern char *key_to_text(const Key *key, const Datum *values);

/*
 * Parse a key's text into its columns' values.  Raises
 * ERRCODE_INVALID_TEXT_REPRESENTATION if it has another number of columns, and what the
 * types' input functions raise.
 */
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
 * Check whether a column has the same bytes in two rows.  Equal values that are stored
 * differently count as different, which costs the worker a needless check of the row.
 */
extern bool key_same_column(TupleTableSlot *old, TupleTableSlot *new, AttrNumber attnum);

#endif							/* MIXPEEK_KEY_H */
