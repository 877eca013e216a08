/*-------------------------------------------------------------------------
 *
 * account.c
 *		The worker's view of its servers and mirrors, loaded when first needed.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/relation.h"
#include "access/xact.h"
#include "base/clock.h"
#include "base/guard.h"
#include "mirror/native.h"
#include "mirror/part.h"
#include "remote/marker.h"
#include "state/aside.h"
#include "state/mirror_records.h"
#include "state/origin.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "worker/account.h"

/* Lines at a time that are looked at for keys that have waited for a change of their server. */
#define HURRY_BATCH		1000

/* Bodies are taken to be large until some were seen. */
#define FIRST_MEAN_BYTES (1024.0 * 1024.0)

/*
 * Bytes of compiled mirrors that are kept, used or not.  With each go some kilobytes of
 * PostgreSQL's own caches, which it does not empty by itself.
 */
#define MAX_MIRROR_BYTES	(32 * 1024 * 1024)

/* There is one worker a process; invalidation callbacks cannot be removed. */
static MirrorCache *current_cache = NULL;
static bool callbacks_registered = false;

/* The cached mirrors of one relation. */
typedef struct RelationEntry
{
	Oid			relation;		/* hash key */
	List	   *mirrors;
} RelationEntry;

static void
invalidate_list(List *cache)
{
	ListCell   *lc;

	foreach(lc, cache)
	{
		CachedMirror *cached = lfirst(lc);

		cached->valid = false;
		cached->blocked_until = 0;
	}
}

static void
invalidate_relation(Datum arg, Oid relation)
{
	RelationEntry *entry;

	if (current_cache == NULL)
		return;
	if (relation == InvalidOid)
	{
		invalidate_list(current_cache->mirrors);
		return;
	}
	entry = hash_search(current_cache->by_relation, &relation, HASH_FIND, NULL);
	if (entry)
		invalidate_list(entry->mirrors);
}

/* A schema's name is part of the tables' names, and its owner decides who may use it. */
static void
invalidate_namespace(Datum arg, int cacheid, uint32 hashvalue)
{
	ListCell   *lc;

	foreach(lc, current_cache ? current_cache->mirrors : NIL)
	{
		CachedMirror *cached = lfirst(lc);

		if (cached->mirror && (hashvalue == 0 || cached->mirror->namespace_hash == hashvalue))
			cached->valid = false;
	}
}

/* What an owner may read, and whether to_json() of an enum calls a cast: see rows.c. */
static void
invalidate_all(Datum arg, int cacheid, uint32 hashvalue)
{
	if (current_cache)
		mirror_cache_invalidate(current_cache);
}

static void
invalidate_servers(Datum arg, int cacheid, uint32 hashvalue)
{
	ListCell   *lc;

	foreach(lc, current_cache ? current_cache->accounts : NIL)
		((Account *) lfirst(lc))->valid = false;
}

/* A statement on one server is nothing to the others; 0 stands for all, and says nothing of any. */
static void
invalidate_server(Datum arg, int cacheid, uint32 hashvalue)
{
	ListCell   *lc;

	foreach(lc, current_cache ? current_cache->accounts : NIL)
	{
		Account    *account = lfirst(lc);

		if (hashvalue != 0 && account->server && account->server_hash != hashvalue)
			continue;
		account->valid = false;
		account->altered = account->altered || hashvalue != 0;
	}
}

static void
register_callbacks(void)
{
	CacheRegisterRelcacheCallback(invalidate_relation, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, invalidate_namespace, (Datum) 0);
	CacheRegisterSyscacheCallback(CASTSOURCETARGET, invalidate_all, (Datum) 0);
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, invalidate_server, (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, invalidate_servers, (Datum) 0);
	CacheRegisterSyscacheCallback(FOREIGNDATAWRAPPEROID, invalidate_servers, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, invalidate_servers, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, invalidate_all, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMMEMROLE, invalidate_servers, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMMEMROLE, invalidate_all, (Datum) 0);
}

static void
forget_targets(void *arg)
{
	if (current_cache == arg)
		current_cache = NULL;
}

MirrorCache *
mirror_cache_create(MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "mixpeek targets", ALLOCSET_DEFAULT_SIZES);
	MirrorCache *cache = MemoryContextAllocZero(context, sizeof(MirrorCache));
	HASHCTL		ctl = {0};
	MemoryContextCallback *callback = MemoryContextAllocZero(context, sizeof(MemoryContextCallback));

	cache->context = context;
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(RelationEntry);
	ctl.hcxt = context;
	cache->by_relation = hash_create("mixpeek targets", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	callback->func = forget_targets;
	callback->arg = cache;
	MemoryContextRegisterResetCallback(context, callback);
	current_cache = cache;
	if (!callbacks_registered)
		register_callbacks();
	callbacks_registered = true;
	return cache;
}

/*
 * Connections
 */

static void
load_server(void *arg)
{
	Account    *account = arg;
	MemoryContext old = MemoryContextSwitchTo(account->context);

	account->server = mixpeek_server_get(account->name, account->owner);
	account->server_hash = GetSysCacheHashValue1(FOREIGNSERVEROID, ObjectIdGetDatum(account->server->serverid));
	MemoryContextSwitchTo(old);
}

static bool
same_limits(const MixpeekServer *a, const MixpeekServer *b)
{
	return a->max_connections == b->max_connections &&
		a->requests_per_minute == b->requests_per_minute &&
		strcmp(a->base_url, b->base_url) == 0 && strcmp(a->api_key, b->api_key) == 0;
}

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* Something of others has changed: what this one was found to be still holds. */
static bool
is_unchanged(const MixpeekServer *a, const MixpeekServer *b)
{
	return same_limits(a, b) && a->serverid == b->serverid && a->userid == b->userid &&
		same_text(a->namespace, b->namespace) && same_text(a->ca_file, b->ca_file) &&
		a->connect_timeout == b->connect_timeout && a->request_timeout == b->request_timeout &&
		a->create_unfindable == b->create_unfindable;
}

/* Keys have waited for the server to change, and now it has. */
static void
hurry(Account *account)
{
	account->hurries = true;
	account->hurry_position = clock_now();
	account->hurry_batch = HURRY_BATCH;
}

/* What is known of the server's limits outlives a reload that does not touch them. */
static void
load_connection(Account *account, MemoryContext parent)
{
	MemoryContext old_context = account->context;
	MixpeekServer *old_server = account->server;
	bool		altered = account->altered;
	char	   *problem;

	account->context = AllocSetContextCreate(parent, "mixpeek connection", ALLOCSET_SMALL_SIZES);
	account->server = NULL;
	account->problem = NULL;
	account->valid = true;
	account->altered = false;
	problem = guard_call(load_server, account);
	if (problem)
	{
		account->server = NULL;
		account->problem = MemoryContextStrdup(account->context, problem);
		if (!account->problem_reported)
			account->retry_at = 0;	/* not that of an earlier problem */
	}
	else if (old_server == NULL || altered || !is_unchanged(old_server, account->server))
	{
		bool		same = old_server != NULL && same_limits(old_server, account->server);

		if (old_context && (!same || account->throttle.down))
			hurry(account);
		throttle_reload(&account->throttle, account->server, same);
		if (!same)
		{
			account->lookup_batch = LOOKUP_BATCH;
			account->lookups_work = account->lookups_refused = false;
		}
	}
	if (problem == NULL && account->problem_reported)
	{
		account->problem_reported = false;
		ereport(LOG,
				(errmsg("mixpeek_docs: server \"%s\" can be used", account->name)));
	}
	if (old_context)
		MemoryContextDelete(old_context);
}

void
account_report_problem(Account *account)
{
	account->retry_at = clock_seconds() + RETRY_PROBLEM;
	if (account->problem_reported)
		return;
	account->problem_reported = true;
	ereport(LOG,
			(errmsg("mixpeek_docs: server \"%s\" cannot be used, its keys wait: %s",
					account->name, account->problem)));
}

static Account *
find_connection(MirrorCache *cache, const char *server, Oid owner)
{
	MemoryContext old;
	Account    *account;
	ListCell   *lc;

	foreach(lc, cache->accounts)
	{
		account = lfirst(lc);
		if (account->owner == owner && strcmp(account->name, server) == 0)
			return account;
	}
	old = MemoryContextSwitchTo(cache->context);
	account = palloc0(sizeof(Account));
	account->name = pstrdup(server);
	account->owner = owner;
	account->mean_bytes = FIRST_MEAN_BYTES;
	dlist_init(&account->ready);
	cache->accounts = lappend(cache->accounts, account);
	MemoryContextSwitchTo(old);
	return account;
}

Account *
mirror_cache_account(MirrorCache *cache, const char *server, Oid owner)
{
	Account    *account = find_connection(cache, server, owner);

	if (!account->valid || (account->problem && account->retry_at <= clock_seconds()))
		load_connection(account, cache->context);
	return account;
}

bool
mirror_cache_has_changed(const MirrorCache *cache)
{
	ListCell   *lc;

	foreach(lc, cache->accounts)
	{
		if (!((Account *) lfirst(lc))->valid)
			return true;
	}
	return false;
}

bool
mirror_cache_reload(MirrorCache *cache)
{
	bool		any = false;
	ListCell   *lc;

	foreach(lc, cache->accounts)
	{
		Account    *account = lfirst(lc);

		if (account->valid)
			continue;
		load_connection(account, cache->context);
		any = true;
	}
	return any;
}

/*
 * MirrorCache
 */

static CachedMirror *
find_target(MirrorCache *cache, Oid relation, const char *collection)
{
	RelationEntry *entry = hash_search(cache->by_relation, &relation, HASH_FIND, NULL);
	ListCell   *lc;

	foreach(lc, entry ? entry->mirrors : NIL)
	{
		CachedMirror *cached = lfirst(lc);

		if (strcmp(cached->collection, collection) == 0)
			return cached;
	}
	return NULL;
}

static CachedMirror *
add_target(MirrorCache *cache, Oid relation, const char *collection)
{
	MemoryContext old = MemoryContextSwitchTo(cache->context);
	CachedMirror *cached = palloc0(sizeof(CachedMirror));
	RelationEntry *entry;
	bool		found;

	cached->relation = relation;
	cached->collection = pstrdup(collection);
	entry = hash_search(cache->by_relation, &relation, HASH_ENTER, &found);
	if (!found)
		entry->mirrors = NIL;
	entry->mirrors = lappend(entry->mirrors, cached);
	cache->mirrors = lappend(cache->mirrors, cached);
	MemoryContextSwitchTo(old);
	return cached;
}

static void
remove_target(MirrorCache *cache, CachedMirror *cached)
{
	RelationEntry *entry = hash_search(cache->by_relation, &cached->relation, HASH_FIND, NULL);

	entry->mirrors = list_delete_ptr(entry->mirrors, cached);
	if (entry->mirrors == NIL)
		(void) hash_search(cache->by_relation, &cached->relation, HASH_REMOVE, NULL);
	pfree(cached->collection);
	pfree(cached);
}

/* The cached mirror has no mirror from here on; jobs may still point to the one that it had. */
static void
release_mirror(MirrorCache *cache, CachedMirror *cached)
{
	Mirror	   *mirror = cached->mirror;

	if (mirror == NULL)
		return;
	cached->mirror = NULL;
	cached->loaded = false;
	cache->mirror_bytes -= mirror->bytes;
	if (mirror->njobs == 0)
		mirror_free(mirror);
	else
	{
		MemoryContext old = MemoryContextSwitchTo(cache->context);

		cache->stale = lappend(cache->stale, mirror);
		MemoryContextSwitchTo(old);
	}
}

static void
complete_mirror(Mirror *mirror)
{
	Relation	rel = relation_open(mirror->relation, NoLock);

	mirror->native = native_can_read(rel, mirror);
	ereport(DEBUG1,
			(errmsg("mixpeek_docs: rows of \"%s\" are read by %s", RelationGetRelationName(rel),
					mirror->native ? "PostgreSQL's own code" : "statements of their owner")));
	relation_close(rel, NoLock);
	mirror->marker_prefix = MemoryContextStrdup(mirror->context,
												marker_prefix(origin_id(), mirror->table));
	mirror->forgotten = mirror_records_were_forgotten(mirror->marker_prefix, mirror->arguments.collection);
}

/* Whatever changes meanwhile makes it invalid again; an error leaves it to be loaded anew. */
static void
load_target(MirrorCache *cache, CachedMirror *cached)
{
	Mirror	   *mirror;

	release_mirror(cache, cached);
	cached->loaded = false;
	cached->valid = true;
	crash_note_stored(cached->relation);
	mirror = mirror_find(cached->relation, cached->collection, CurrentMemoryContext);
	if (mirror)
	{
		complete_mirror(mirror);
		mirror->bytes = MemoryContextMemAllocated(mirror->context, true);
		cache->mirror_bytes += mirror->bytes;
		MemoryContextSetParent(mirror->context, cache->context);
	}
	else
		cache->some_are_gone = true;
	cached->mirror = mirror;
	cached->loaded = true;
	crash_note_clear();
}

void
mirror_cache_invalidate(MirrorCache *cache)
{
	ListCell   *lc;

	foreach(lc, cache->mirrors)
		((CachedMirror *) lfirst(lc))->valid = false;
}

static bool
is_current(const CachedMirror *cached)
{
	return cached->valid && cached->loaded;
}

/* The index by which rows are found, of a table that may not be there any more. */
static Oid
index_of_table(Oid relation)
{
	Relation	rel = try_relation_open(relation, NoLock);
	Oid			index;

	if (rel == NULL)
		return InvalidOid;
	index = key_index(rel);
	relation_close(rel, NoLock);
	return index;
}

/*
 * The table's lock is that of whoever changes rows, for it keeps CREATE TRIGGER out: a
 * new template's keys are to be seen before the invalidation message is, and must not
 * be rendered from the old one.  An index can be locked by itself, while it is moved to
 * another tablespace.
 */
static bool
lock_table(CachedMirror *cached)
{
	Oid			index;

	if (!ConditionalLockRelationOid(cached->relation, RowExclusiveLock))
		return false;
	AcceptInvalidationMessages();
	if (!is_current(cached))
		index = index_of_table(cached->relation);
	else
		index = cached->mirror && cached->mirror->key ? cached->mirror->key->index : InvalidOid;
	return !OidIsValid(index) || ConditionalLockRelationOid(index, AccessShareLock);
}

/*
 * Locks the partitions, but once a transaction.  Those of a mirror that is not native are
 * its owner's statements to wait for.
 */
static bool
lock_partitions(CachedMirror *cached)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();

	if (cached->mirror == NULL || !cached->mirror->native || cached->locked_in == now)
		return true;
	if (!parts_lock(cached->relation))
		return false;
	cached->locked_in = now;
	return true;
}

CachedMirror *
mirror_cache_get(MirrorCache *cache, Oid relation, const char *collection)
{
	CachedMirror *cached = find_target(cache, relation, collection);

	if (cached == NULL)
		cached = add_target(cache, relation, collection);
	cached->used = ++cache->used;
	if (cached->blocked_until > clock_seconds())
		return cached;			/* for whatever reason */
	cached->blocked_until = 0;
	if (!aside_try(relation) || !lock_table(cached))
	{
		cached->blocked_until = clock_seconds() + LOCK_DELAY;
		return cached;
	}
	if (!is_current(cached))
		load_target(cache, cached);
	if (!lock_partitions(cached))
		cached->blocked_until = clock_seconds() + LOCK_DELAY;
	cached->account = cached->mirror ?
		mirror_cache_account(cache, cached->mirror->arguments.server, cached->mirror->owner) : NULL;
	return cached;
}

/*
 * Forgetting
 */

static void
free_stale(MirrorCache *cache)
{
	ListCell   *lc;

	foreach(lc, cache->stale)
	{
		Mirror	   *mirror = lfirst(lc);

		if (mirror->njobs > 0)
			continue;
		mirror_free(mirror);
		cache->stale = foreach_delete_current(cache->stale, lc);
	}
}

/* Tables that were dropped or are not mirrored any more. */
static void
remove_gone(MirrorCache *cache)
{
	ListCell   *lc;

	cache->some_are_gone = false;
	foreach(lc, cache->mirrors)
	{
		CachedMirror *cached = lfirst(lc);

		if (!cached->loaded || cached->mirror)
			continue;
		remove_target(cache, cached);
		cache->mirrors = foreach_delete_current(cache->mirrors, lc);
	}
}

static int
compare_use(const ListCell *a, const ListCell *b)
{
	const CachedMirror *x = lfirst(a);
	const CachedMirror *y = lfirst(b);

	return x->used < y->used ? -1 : x->used > y->used;
}

/* The half that was used last stays. */
static void
release_unused(MirrorCache *cache)
{
	ListCell   *lc;

	list_sort(cache->mirrors, compare_use);
	foreach(lc, cache->mirrors)
	{
		CachedMirror *cached = lfirst(lc);

		if (cache->mirror_bytes <= MAX_MIRROR_BYTES / 2)
			break;
		if (cached->mirror && cached->mirror->njobs == 0)
			release_mirror(cache, cached);
	}
}

void
mirror_cache_sweep(MirrorCache *cache)
{
	if (cache->stale)
		free_stale(cache);
	if (cache->some_are_gone)
		remove_gone(cache);
	if (cache->mirror_bytes > MAX_MIRROR_BYTES)
		release_unused(cache);
}
