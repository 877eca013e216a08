/*-------------------------------------------------------------------------
 *
 * native.h
 *		Which mirrors can be read without calling code of users.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_NATIVE_H
#define MIXPEEK_NATIVE_H

#include "mirror/mirror.h"

/*
 * Check whether the mirror's rows can be read with PostgreSQL's own functions only.  The
 * mirror was compiled under the lock that the caller holds on rel; the answer is valid
 * as long as that lock is held.
 */
extern bool native_can_read(Relation rel, const Mirror *mirror);

/* Check whether rel is a table of a built-in access method. */
extern bool native_storage(Relation rel);

/*
 * Check whether index is rel's unique btree index on exactly these columns, with the key's
 * operators, built-in functions and ascending order.
 */
extern bool native_index(Relation rel, Relation index, const Key *key, const AttrNumber *attnums);

/* Return the column if it exists and its base type is the one that was compiled; else NULL. */
extern Form_pg_attribute native_attribute(Relation rel, AttrNumber attnum, Oid type);

/* Return the enum that a type, or the element type of an array, is based on; InvalidOid if it is none. */
extern Oid	native_enum(Oid type);

#endif							/* MIXPEEK_NATIVE_H */
