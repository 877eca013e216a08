/*-------------------------------------------------------------------------
 *
 * expansion.h
 *		Entries that stand for many keys: "all rows" and "all records" of a mirror.
 *
 * Such an entry is replaced, a chunk of keys at a time, by entries of single keys; it
 * remembers the last key of the chunk.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_EXPANSION_H
#define MIXPEEK_EXPANSION_H

#include "state/outbox.h"
#include "worker/forward.h"
#include "worker/mirror_cache.h"

/* The expansions of one claim. */
typedef struct Expansions
{
	List	   *done;			/* OutboxEntry that were replaced */
	List	   *from_start;		/* those of them that began with the first key */
} Expansions;

/* Check whether an entry stands for many keys. */
extern bool expansion_is_one(const OutboxEntry *entry);

/*
 * Put the next keys of an entry into the outbox, or have an agent list them.  Returns
 * false if the entry is left for later.
 */
extern bool expansion_take(Worker *worker, Expansions *expansions, OutboxEntry *entry);

/* Put the keys that an agent has listed into the outbox, in place of the entry. */
extern void expansion_put_keys(Worker *worker, Expansions *expansions, CachedMirror *cached,
							   OutboxEntry *entry, List *keys);

/*
 * Handle a failure to list the keys of an entry.  If the mirror's key has changed, which
 * makes the entry's last key unreadable, all is listed anew, and the result is true.  Otherwise the
 * entry is left for a minute, and mixpeek.mirrors shows why.
 */
extern bool expansion_fail(Worker *worker, Expansions *expansions, CachedMirror *cached,
						   OutboxEntry *entry, const char *problem);

#endif							/* MIXPEEK_EXPANSION_H */
