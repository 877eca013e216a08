/*-------------------------------------------------------------------------
 *
 * key_table.h
 *		mixpeek.keys: the definition of each mirror's key.
 *
 * All functions must be called in a transaction, as a superuser.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_KEY_TABLE_H
#define MIXPEEK_KEY_TABLE_H

#include "nodes/pg_list.h"

/*
 * Store a mirror's definition, which key_definition() has made.  Returns true if there was
 * another one, under which the keys of rows have other texts.
 */
extern bool key_table_store(Oid relation, const char *collection, const List *definition);

/* Store why the rows of a mirror cannot be listed; NULL: they can. */
extern void key_table_set_problem(Oid relation, const char *collection, const char *problem);

/* Return that reason, palloc'd; NULL if there is none. */
extern char *key_table_problem(Oid relation, const char *collection);

/* Delete the definitions of a table's mirrors: into a collection, or all (NULL). */
extern void key_table_forget(Oid relation, const char *collection);

/*
 * Have the worker compare the definitions of mirrors with those that are stored: mirrors of these
 * tables, given as a List of Oid; or mirrors of all tables with a column of a type that a
 * user has created.
 */
extern void key_table_check_tables(const List *relations);
extern void key_table_check_types(void);

/*
 * Return the tables whose keys contain this enum, as a List of Oid.
 */
extern List *key_table_with_enum(Oid type);

#endif							/* MIXPEEK_KEY_TABLE_H */
