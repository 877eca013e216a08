/*-------------------------------------------------------------------------
 *
 * object_checks.h
 *		Checks of objects that are created or changed: mirrors, and what the
 *		extension's own objects must not get.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_OBJECT_CHECKS_H
#define MIXPEEK_OBJECT_CHECKS_H

/* Install the hook that applies the checks; called once a backend, by _PG_init(). */
extern void object_checks_init(void);

/*
 * Check an object of catalog class_id that the running command has created or changed.
 * Raises what is wrong with it: see arguments.h and template.h for mirrors,
 * ERRCODE_INVALID_OBJECT_DEFINITION for their events, ERRCODE_INSUFFICIENT_PRIVILEGE
 * unless the current user owns the mirrored table, and
 * ERRCODE_FEATURE_NOT_SUPPORTED for changes to the extension's own objects.  With warn, mistakes
 * that are not errors are reported as warnings.
 */
extern void object_checks_apply(Oid class_id, Oid object_id, bool warn);

#endif							/* MIXPEEK_OBJECT_CHECKS_H */
