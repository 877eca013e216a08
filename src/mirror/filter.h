/*-------------------------------------------------------------------------
 *
 * filter.h
 *		Which rows of a table are mirrored: the argument filter=.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_FILTER_H
#define MIXPEEK_FILTER_H

#include "utils/rel.h"

/*
 * Raise ERRCODE_FEATURE_NOT_SUPPORTED if a mirror's trigger has a condition WHEN, given as its node
 * tree's text (NULL: none), with the filter to use instead as HINT.  A trigger that does not fire
 * cannot note that a row has begun or ceased to match.  Without deparse, which may call code of users,
 * the HINT does not name the filter.
 */
extern void filter_refuse_when(Relation rel, const char *when, bool deparse);

#endif							/* MIXPEEK_FILTER_H */
