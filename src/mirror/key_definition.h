/*-------------------------------------------------------------------------
 *
 * key_definition.h
 *		What the texts of a table's keys mean: the columns of the key and their types.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_KEY_DEFINITION_H
#define MIXPEEK_KEY_DEFINITION_H

#include "mirror/key.h"

/*
 * Return a key's definition as the catalogs have it now, as a List of char * in the current
 * memory context.  The first element has the numbers of the columns in the table and their
 * types; the others have the labels of enums among the types: "type label label's name", the
 * first two as oids.  The texts of a row's key under two definitions are the same if the first
 * elements are equal, and the older definition's labels are all in the newer one.
 */
extern List *key_definition(const Key *key);

#endif							/* MIXPEEK_KEY_DEFINITION_H */
