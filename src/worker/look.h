/*-------------------------------------------------------------------------
 *
 * look.h
 *		When the worker looks for keys, and whose it may take.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_LOOK_H
#define MIXPEEK_LOOK_H

#include "worker/worker.h"

/* Keys claimed at once at the most: meanwhile no answer is read. */
#define CLAIM_MAX		256

/* The most that one of the servers takes now; of those that are known. */
extern int	look_widest_room(Worker *worker);

/* Does one take any now, or is none known? */
extern bool worker_wants_keys(const Worker *worker);

/* False where the cached mirror's server is busy, down or unusable just now. */
extern bool look_has_room(CachedMirror *cached);

/*
 * Ends the walk of a claim: where it has left something unread, servers that have been
 * given all they take are looked for again as soon as one takes more.
 */
extern void look_note_full(Worker *worker);

/* Something was passed by: it is looked at again so many seconds later. */
extern void look_later(Worker *worker, double delay);

/*
 * Begins a claim.  Mirrors whose server takes nothing now, or whose table is locked, are
 * excluded: their keys stay where they are.
 */
extern void look_exclude(Worker *worker);

/*
 * Reads keys that are due in the order of their times; List of DueKey.  Those that were
 * passed by, as their mirrors took none, are read again from there when these do; all
 * others stand behind where the last claim ended.
 */
extern List *look_read_due(Worker *worker, int limit);

/* None of them could be taken: the next ones are read later, and more at once. */
extern void look_rest_due(Worker *worker, double began);

/* Has the time of a key come?  They are read even without room, to know whom they wait for. */
extern bool look_may_read_due(const Worker *worker);

/*
 * Servers, mappings and rights that have changed are read anew, whether there is room for
 * keys or not.  Keys that have waited for the change wait no longer.
 */
extern void look_reload(Worker *worker);

#endif							/* MIXPEEK_LOOK_H */
