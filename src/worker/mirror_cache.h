/*-------------------------------------------------------------------------
 *
 * mirror_cache.h
 *		The worker's compiled mirrors, by relation and collection, and the accounts
 *		that they use.
 *
 * Both are loaded when first needed, and again after an invalidation message.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_MIRROR_CACHE_H
#define MIXPEEK_MIRROR_CACHE_H

#include "mirror/mirror.h"
#include "utils/hsearch.h"
#include "worker/account.h"

/* Seconds until a table that another session has locked is tried again. */
#define LOCK_DELAY		0.5

/*
 * A relation and collection that occur in the outbox or in mixpeek.documents; or with relation
 * InvalidOid the owed deletes of one account, whatever their collections (see state/owed.h).
 */
typedef struct CachedMirror
{
	Oid			relation;
	char	   *collection;		/* of owed deletes: owed_scope() */
	bool		valid;			/* nothing has changed since it was loaded */
	bool		loaded;			/* completely, without an error */
	bool		checked;		/* by definition_check(), since it was loaded */
	TimestampTz changed_in;		/* start of the transaction in which
								 * definition_check() found a change */
	bool		unlisted;		/* its rows could not be listed, or it is not
								 * known if they could */
	uint64		last_use;		/* the cache's count of uses at the last one */
	TimestampTz locked_in;		/* start of the transaction that has locked
								 * the table's partitions */
	TimestampTz read_in;		/* start of the transaction that has read
								 * mixpeek.forgotten */
	Mirror	   *mirror;			/* NULL: not mirrored, or no longer */
	Account    *account;		/* the mirror's; NULL: none */
	double		blocked_until;	/* the table is locked or cannot be listed
								 * before this time; 0: it is not blocked */
	double		list_after;		/* the API has refused to list its documents:
								 * not before this time, in clock_seconds() */
} CachedMirror;

typedef struct MirrorCache
{
	MemoryContext context;
	List	   *mirrors;		/* of CachedMirror */
	HTAB	   *by_relation;	/* of the same */
	List	   *accounts;		/* of Account */
	List	   *stale;			/* of Mirror: replaced while jobs pointed to
								 * them */
	uint64		uses;			/* number of calls of mirror_cache_get() */
	Size		mirror_bytes;	/* memory of all mirrors but the stale ones */
	bool		some_are_gone;	/* there are cached mirrors without a mirror */
	bool		all_forgotten;	/* records were removed by TRUNCATE: rows of
								 * all mirrors may have documents */

	/* where servers lead to, see server_check.c */
	List	   *places;			/* of ServerPlace */
	MemoryContext places_context;	/* of the same; NULL: not read yet */
	uint64		server_changes; /* of servers and user mappings that were seen */
	uint64		server_changes_read;	/* when they were read last */
	uint64		server_changes_handled; /* and that transaction has committed */
} MirrorCache;

/* Return a new, empty cache.  A process has at most one. */
extern MirrorCache *mirror_cache_create(MemoryContext parent);

/*
 * Return the cached mirror of a relation and collection, loaded if necessary.  If
 * its blocked_until is not 0, no other field may be used: the table is set aside,
 * cannot be listed, or the table, its key's index or a partition is locked in a way
 * that the worker would have to wait.  Must be called in a transaction; keeps a
 * RowExclusiveLock on the table until its end.
 */
extern CachedMirror *mirror_cache_get(MirrorCache *cache, Oid relation, const char *collection);

/*
 * Return what stands for the owed deletes of an account.  It has no mirror, and nothing blocks it.
 * Must be called in a transaction.
 */
extern CachedMirror *mirror_cache_get_owed(MirrorCache *cache, const char *server, Oid owner);

/* Return an owner's account of a server, loaded if necessary.  Must be called in a transaction. */
extern Account *mirror_cache_account(MirrorCache *cache, const char *server, Oid owner);

/* Check whether a server, a user mapping or a role has changed since the accounts were loaded. */
extern bool mirror_cache_has_changed(const MirrorCache *cache);

/* Load the accounts that have changed; return whether there were any.  Must be called in a transaction. */
extern bool mirror_cache_reload(MirrorCache *cache);

/* Have all mirrors loaded again when they are next needed. */
extern void mirror_cache_invalidate(MirrorCache *cache);

/*
 * Free what is no longer current, and the least recently used mirrors if all together
 * take too much memory.  Mirrors to which jobs point are kept.
 */
extern void mirror_cache_sweep(MirrorCache *cache);

#endif							/* MIXPEEK_MIRROR_CACHE_H */
