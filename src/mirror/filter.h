/*-------------------------------------------------------------------------
 *
 * filter.h
 *		Which rows of a table are mirrored: the argument filter=.
 *
 * A filter is an SQL expression over the columns of the row.  A row is mirrored if it is true.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_FILTER_H
#define MIXPEEK_FILTER_H

#include "nodes/bitmapset.h"
#include "utils/rel.h"

/*
 * Return the numbers of the columns that a filter uses, and check what can be checked without
 * calling code of users: it is one expression, without subqueries, parameters and system
 * columns.  Raises ERRCODE_SYNTAX_ERROR, ERRCODE_FEATURE_NOT_SUPPORTED,
 * ERRCODE_UNDEFINED_PARAMETER and ERRCODE_UNDEFINED_COLUMN.
 */
extern Bitmapset *filter_columns(Relation rel, const char *filter);

/*
 * Check a filter, as the table's owner: it is boolean, its functions exist, none of them is volatile,
 * an aggregate or a window function, and none returns a set.  Names without a schema mean objects
 * of pg_catalog.  Raises what is wrong.  This may call code of users, so it is not for the worker.
 * Returns whether the result depends on the row only: it may change with time or other tables
 * if one of the functions is not immutable.
 */
extern bool filter_check(Relation rel, const char *filter);

/*
 * Return the same filter in the form that filter_check() wants: names are looked up by the
 * session's search path, and qualified.  Raises what is wrong.  palloc'd.
 */
extern char *filter_qualify(Relation rel, const char *filter);

/*
 * Raise ERRCODE_FEATURE_NOT_SUPPORTED if a mirror's trigger has a condition WHEN, given as its node
 * tree's text (NULL: none), with the filter to use instead as HINT.  A trigger that does not fire
 * cannot note that a row has begun or ceased to match.  Without deparse, which may call code of users,
 * the HINT does not name the filter.
 */
extern void filter_refuse_when(Relation rel, const char *when, bool deparse);

#endif							/* MIXPEEK_FILTER_H */
