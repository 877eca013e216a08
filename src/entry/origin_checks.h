/*-------------------------------------------------------------------------
 *
 * origin_checks.h
 *		Statements that lose the origin or the records.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_ORIGIN_CHECKS_H
#define MIXPEEK_ORIGIN_CHECKS_H

/* A table is about to be dropped: if it is mixpeek.origin, say how its documents can be taken over again. */
extern void origin_checks_drop(Oid relation);

/*
 * A table is about to be truncated: if it is mixpeek.origin, raise ERRCODE_FEATURE_NOT_SUPPORTED; if it has
 * records, see to it that rows are looked up from now on.
 */
extern void origin_checks_truncate(Oid relation);

#endif							/* MIXPEEK_ORIGIN_CHECKS_H */
