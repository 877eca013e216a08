/*-------------------------------------------------------------------------
 *
 * account.h
 *		The worker's view of its servers and mirrors, loaded when first needed.
 *
 * A account is a server as one owner uses it: one key, one set of limits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_ACCOUNT_H
#define MIXPEEK_ACCOUNT_H

#include "state/job.h"
#include "utils/hsearch.h"
#include "worker/throttle.h"

/* A table that somebody has locked is tried again after so many seconds. */
#define LOCK_DELAY		0.5

/* A server that cannot be used is tried again after so many seconds. */
#define RETRY_PROBLEM	60

/* Markers a look-up asks for; the API's pages hold up to 1000 documents. */
#define LOOKUP_BATCH	100

typedef struct Account
{
	char	   *name;			/* the foreign server's */
	Oid			owner;
	bool		valid;			/* false: load it again */
	bool		altered;		/* for a statement was about this server */
	uint32		server_hash;	/* as invalidations name it */
	MemoryContext context;		/* of server and problem */
	MixpeekServer *server;		/* NULL: it cannot be used; see problem */
	char	   *problem;
	bool		problem_reported;
	double		retry_at;		/* when a problem is looked at again */
	Throttle	throttle;
	dlist_head	ready;			/* jobs whose next request may go out */
	int			nready;
	int			claimed;		/* jobs not yet settled */
	size_t		bytes;			/* of their bodies */
	bool		full;			/* a row did not fit beside them */
	double		mean_bytes;		/* of the last ones; so many fit into what is
								 * left */
	int			lookup_batch;	/* markers a look-up */
	bool		lookups_work;	/* one was answered */
	bool		lookups_refused;	/* the first ones were, whatever they
									 * asked for */
	bool		excluded;		/* keys were left for want of room */
	bool		hurries;		/* it is another now than its pending keys
								 * wait for */
	TimestampTz hurry_position; /* those that are due later are still to be
								 * told */
	int			hurry_batch;
	char	   *setback;		/* what the last answer said that stopped
								 * others; NULL: none did */
} Account;

/* A relation and collection that the outbox or documents speak of. */
typedef struct CachedMirror
{
	Oid			relation;
	char	   *collection;
	bool		valid;			/* nothing has changed since it was loaded */
	bool		loaded;			/* wholly, without an error */
	uint64		used;			/* when it was asked for last, as MirrorCache
								 * counts */
	TimestampTz locked_in;		/* start of the transaction that has locked
								 * its partitions */
	Mirror	   *mirror;			/* NULL: not mirrored (any more) */
	Account    *account;		/* of its mirror; NULL: none */
	double		blocked_until;	/* the table is locked or cannot be listed:
								 * not before; 0: no */
} CachedMirror;

typedef struct MirrorCache
{
	MemoryContext context;
	List	   *mirrors;		/* of CachedMirror */
	HTAB	   *by_relation;	/* of the same */
	List	   *accounts;
	List	   *stale;			/* mirrors replaced while jobs pointed to them */
	uint64		used;			/* counts what was asked for */
	Size		mirror_bytes;	/* of the cached mirrors' mirrors */
	bool		some_are_gone;	/* cached mirrors without a mirror */
} MirrorCache;

extern MirrorCache *mirror_cache_create(MemoryContext parent);

/*
 * The cached mirror, loaded if need be; but only blocked_until is to be looked at where it is not over,
 * or somebody holds a lock on the table or on its key's index that would make the worker
 * wait.  In a transaction; keeps a RowExclusiveLock on the table until its end.
 */
extern CachedMirror *mirror_cache_get(MirrorCache *cache, Oid relation, const char *collection);

/* The account, loaded if need be and if time has come for a broken one. */
extern Account *mirror_cache_account(MirrorCache *cache, const char *server, Oid owner);

/* Has a server, a mapping or a right changed?  Then loads those again; true if any was. */
extern bool mirror_cache_has_changed(const MirrorCache *cache);
extern bool mirror_cache_reload(MirrorCache *cache);

/* A key met the account's problem: it is logged once, and looked at again later. */
extern void account_report_problem(Account *account);

/* All cached mirrors are loaded again. */
extern void mirror_cache_invalidate(MirrorCache *cache);

/*
 * Forgets what is not current any more, and mirrors that were not used for long where
 * all take too much memory; keeps what jobs point to.
 */
extern void mirror_cache_sweep(MirrorCache *cache);

#endif							/* MIXPEEK_ACCOUNT_H */
