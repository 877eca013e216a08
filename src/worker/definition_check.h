/*-------------------------------------------------------------------------
 *
 * definition_check.h
 *		Whether a mirror's key still has the definition that its records were made under.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_DEFINITION_CHECK_H
#define MIXPEEK_DEFINITION_CHECK_H

#include "state/outbox.h"
#include "worker/forward.h"
#include "worker/mirror_cache.h"

/*
 * Compare a mirror's key with its stored definition, unless that was done since the mirror was
 * compiled and again is false.  If it has changed, all records and all rows are put into the outbox,
 * and the result is true.  The table must be locked, by mirror_cache_get().
 */
extern bool definition_check(Worker *worker, CachedMirror *cached, bool again);

/*
 * Check whether definition_check() has found a change in this transaction, so that other entries for
 * all rows or all records have no use any more.
 */
extern bool definition_has_changed(const CachedMirror *cached);

/* Process an entry OUTBOX_DEFINITION.  Returns false if it is left for later, because the table is locked. */
extern bool definition_take(Worker *worker, const OutboxEntry *entry);

#endif							/* MIXPEEK_DEFINITION_CHECK_H */
