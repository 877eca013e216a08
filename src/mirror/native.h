/*-------------------------------------------------------------------------
 *
 * native.h
 *		Which mirrors can be read by PostgreSQL's own code and no other.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_NATIVE_H
#define MIXPEEK_NATIVE_H

#include "mirror/mirror.h"

/*
 * Can the mirror's rows be read without a call of any function that somebody has
 * made?  The answer holds for as long as the caller's lock on rel does, and the
 * mirror was compiled under it.
 */
extern bool native_can_read(Relation rel, const Mirror *mirror);

/* Is it a table whose rows PostgreSQL itself keeps? */
extern bool native_storage(Relation rel);

/* Is it rel's index on just these columns, unique, of PostgreSQL's own functions, and rising? */
extern bool native_index(Relation rel, Relation index, const Key *key, const AttrNumber *attnums);

/* The column, if it is there and its base type is the one that was compiled; else NULL. */
extern Form_pg_attribute native_attribute(Relation rel, AttrNumber attnum, Oid type);

/* The enum that a type, or its elements, are; InvalidOid: neither. */
extern Oid	native_enum(Oid type);

#endif							/* MIXPEEK_NATIVE_H */
