/*-------------------------------------------------------------------------
 *
 * mirror_cache.c
 *		The worker's compiled mirrors, by relation and collection, and the accounts
 *		that they use.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/relation.h"
#include "access/xact.h"
#include "base/clock.h"
#include "base/crash.h"
#include "mirror/native.h"
#include "mirror/part.h"
#include "remote/marker.h"
#include "state/aside.h"
#include "state/mirror_records.h"
#include "state/origin.h"
#include "state/owed.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "worker/mirror_cache.h"

/*
 * Most bytes of compiled mirrors that are kept.  Each of them also causes some
 * kilobytes of entries in PostgreSQL's own caches, which are not freed.
 */
#define MAX_MIRROR_BYTES	(32 * 1024 * 1024)

/* The process' only cache.  Invalidation callbacks cannot be removed, so they find it here. */
static MirrorCache *current_cache = NULL;
static bool callbacks_registered = false;

/* The cached mirrors of one relation. */
typedef struct RelationEntry
{
	Oid			relation;		/* hash key */
	List	   *mirrors;
} RelationEntry;

static void
invalidate_mirrors(List *mirrors)
{
	ListCell   *lc;

	foreach(lc, mirrors)
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
		invalidate_mirrors(current_cache->mirrors);
		return;
	}
	entry = hash_search(current_cache->by_relation, &relation, HASH_FIND, NULL);
	if (entry)
		invalidate_mirrors(entry->mirrors);
}

/* A mirror contains its table's qualified name and depends on who may use the schema. */
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

/* Roles decide what an owner may read; a cast decides how to_json() writes an enum, see rows.c. */
static void
invalidate_all_mirrors(Datum arg, int cacheid, uint32 hashvalue)
{
	if (current_cache)
		mirror_cache_invalidate(current_cache);
}

static void
invalidate_accounts(Datum arg, int cacheid, uint32 hashvalue)
{
	ListCell   *lc;

	foreach(lc, current_cache ? current_cache->accounts : NIL)
		account_invalidate(lfirst(lc), 0);
}

/* hashvalue names the server; 0: any may have changed. */
static void
invalidate_server(Datum arg, int cacheid, uint32 hashvalue)
{
	ListCell   *lc;

	if (current_cache)
		current_cache->server_changes++;
	foreach(lc, current_cache ? current_cache->accounts : NIL)
		account_invalidate(lfirst(lc), hashvalue);
}

/* An owner may be able to use another server now. */
static void
invalidate_mappings(Datum arg, int cacheid, uint32 hashvalue)
{
	invalidate_accounts(arg, cacheid, hashvalue);
	if (current_cache)
		current_cache->server_changes++;
}

static void
register_callbacks(void)
{
	CacheRegisterRelcacheCallback(invalidate_relation, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, invalidate_namespace, (Datum) 0);
	CacheRegisterSyscacheCallback(CASTSOURCETARGET, invalidate_all_mirrors, (Datum) 0);
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, invalidate_server, (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, invalidate_mappings, (Datum) 0);
	CacheRegisterSyscacheCallback(FOREIGNDATAWRAPPEROID, invalidate_accounts, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, invalidate_accounts, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, invalidate_all_mirrors, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMMEMROLE, invalidate_accounts, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMMEMROLE, invalidate_all_mirrors, (Datum) 0);
}

static void
forget_cache(void *arg)
{
	if (current_cache == arg)
		current_cache = NULL;
}

MirrorCache *
mirror_cache_create(MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "mixpeek mirror cache", ALLOCSET_DEFAULT_SIZES);
	MirrorCache *cache = MemoryContextAllocZero(context, sizeof(MirrorCache));
	HASHCTL		ctl = {0};
	MemoryContextCallback *callback = MemoryContextAllocZero(context, sizeof(MemoryContextCallback));

	cache->context = context;
	cache->server_changes = 1;
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(RelationEntry);
	ctl.hcxt = context;
	cache->by_relation = hash_create("mixpeek mirrors by relation", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	callback->func = forget_cache;
	callback->arg = cache;
	MemoryContextRegisterResetCallback(context, callback);
	current_cache = cache;
	if (!callbacks_registered)
		register_callbacks();
	callbacks_registered = true;
	return cache;
}

/*
 * Accounts
 */

static Account *
find_account(MirrorCache *cache, const char *server, Oid owner)
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
	account = account_create(server, owner);
	cache->accounts = lappend(cache->accounts, account);
	MemoryContextSwitchTo(old);
	return account;
}

Account *
mirror_cache_account(MirrorCache *cache, const char *server, Oid owner)
{
	Account    *account = find_account(cache, server, owner);

	if (account_needs_load(account))
		account_load(account, cache->context);
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
		account_load(account, cache->context);
		any = true;
	}
	return any;
}

/*
 * Mirrors
 */

static CachedMirror *
find_cached(MirrorCache *cache, Oid relation, const char *collection)
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
add_cached(MirrorCache *cache, Oid relation, const char *collection)
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
remove_cached(MirrorCache *cache, CachedMirror *cached)
{
	RelationEntry *entry = hash_search(cache->by_relation, &cached->relation, HASH_FIND, NULL);

	entry->mirrors = list_delete_ptr(entry->mirrors, cached);
	if (entry->mirrors == NIL)
		(void) hash_search(cache->by_relation, &cached->relation, HASH_REMOVE, NULL);
	pfree(cached->collection);
	pfree(cached);
}

/* Take the mirror out of its cache entry.  It is freed once no job points to it. */
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

/* Fill in what only the worker needs to know of a mirror. */
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
}

/*
 * Read whether records of the mirror were forgotten, once in a transaction: another session may forget
 * those of a table that had the same name, and a restore may bring its own.
 */
static void
read_forgotten(const MirrorCache *cache, CachedMirror *cached)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();
	Mirror	   *mirror = cached->mirror;
	MemoryContext old;
	ForgottenMirror forgotten;

	if (mirror == NULL || cached->read_in == now)
		return;
	list_free_deep(mirror->forgotten_fields);
	list_free_deep(mirror->former_prefixes);
	mirror->forgotten_fields = mirror->former_prefixes = NIL;
	old = MemoryContextSwitchTo(mirror->context);
	mirror->forgotten = mirror_records_were_forgotten(mirror->marker_prefix, mirror->arguments.collection,
													  &forgotten) || cache->all_forgotten;
	MemoryContextSwitchTo(old);
	mirror->forgotten_fields = forgotten.fields;
	mirror->former_prefixes = forgotten.prefixes;
	cached->read_in = now;
}

/*
 * Compile the mirror.  valid is set before, so that an invalidation message which
 * arrives meanwhile is not lost; loaded is set after, so that an error causes
 * another attempt.
 */
static void
load_mirror(MirrorCache *cache, CachedMirror *cached)
{
	Mirror	   *mirror;

	release_mirror(cache, cached);
	cached->loaded = cached->checked = false;
	cached->valid = cached->unlisted = true;
	cached->read_in = 0;
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

/* Return the index by which a table's rows are found; InvalidOid if there is none or the table is gone. */
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
 * Lock the table and its key's index, if that needs no wait.  RowExclusiveLock
 * conflicts with CREATE TRIGGER: otherwise entries of a new template could be read
 * before the invalidation message, and rendered from the old template.  The index is
 * locked as well because ALTER INDEX ... SET TABLESPACE locks nothing else.
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
 * Lock the partitions of a native mirror, once in a transaction; return false if one
 * of them is locked by another session.  Partitions of other mirrors are read by an
 * agent, which may wait for them.
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
	CachedMirror *cached = find_cached(cache, relation, collection);

	if (cached == NULL)
		cached = add_cached(cache, relation, collection);
	cached->last_use = ++cache->uses;
	if (cached->blocked_until > clock_seconds())
		return cached;
	cached->blocked_until = 0;
	if (!aside_try(relation) || !lock_table(cached))
	{
		cached->blocked_until = clock_seconds() + LOCK_DELAY;
		return cached;
	}
	if (!is_current(cached))
		load_mirror(cache, cached);
	read_forgotten(cache, cached);
	if (!lock_partitions(cached))
		cached->blocked_until = clock_seconds() + LOCK_DELAY;
	cached->account = cached->mirror ?
		mirror_cache_account(cache, cached->mirror->arguments.server, cached->mirror->owner) : NULL;
	return cached;
}

CachedMirror *
mirror_cache_get_owed(MirrorCache *cache, const char *server, Oid owner)
{
	char	   *scope = owed_scope(server, owner);
	CachedMirror *cached = find_cached(cache, InvalidOid, scope);

	if (cached == NULL)
		cached = add_cached(cache, InvalidOid, scope);
	cached->last_use = ++cache->uses;
	cached->valid = cached->loaded = cache->some_are_gone = true;
	cached->account = mirror_cache_account(cache, server, owner);
	return cached;
}

/*
 * Freeing
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

/* Remove the entries of tables that were dropped or are no longer mirrored. */
static void
remove_unmirrored(MirrorCache *cache)
{
	ListCell   *lc;

	cache->some_are_gone = false;
	foreach(lc, cache->mirrors)
	{
		CachedMirror *cached = lfirst(lc);

		if (!cached->loaded || cached->mirror)
			continue;
		remove_cached(cache, cached);
		cache->mirrors = foreach_delete_current(cache->mirrors, lc);
	}
}

static int
compare_last_use(const ListCell *a, const ListCell *b)
{
	const CachedMirror *x = lfirst(a);
	const CachedMirror *y = lfirst(b);

	return x->last_use < y->last_use ? -1 : x->last_use > y->last_use;
}

/* Free the least recently used mirrors until the others take no more than half the limit. */
static void
release_unused(MirrorCache *cache)
{
	ListCell   *lc;

	list_sort(cache->mirrors, compare_last_use);
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
		remove_unmirrored(cache);
	if (cache->mirror_bytes > MAX_MIRROR_BYTES)
		release_unused(cache);
}
