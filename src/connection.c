/*-------------------------------------------------------------------------
 *
 * connection.c
 *		The worker's view of its servers and mirrors, loaded when first needed.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/relation.h"
#include "access/xact.h"
#include "aside.h"
#include "clock.h"
#include "connection.h"
#include "document.h"
#include "guard.h"
#include "native.h"
#include "origin.h"
#include "part.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

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
static Targets *current_targets = NULL;
static bool callbacks_registered = false;

/* The targets of one relation. */
typedef struct RelationEntry
{
	Oid			relation;		/* hash key */
	List	   *targets;
} RelationEntry;

static void
invalidate_list(List *targets)
{
	ListCell   *lc;

	foreach(lc, targets)
	{
		Target	   *target = lfirst(lc);

		target->valid = false;
		target->blocked_until = 0;
	}
}

static void
invalidate_relation(Datum arg, Oid relation)
{
	RelationEntry *entry;

	if (current_targets == NULL)
		return;
	if (relation == InvalidOid)
	{
		invalidate_list(current_targets->targets);
		return;
	}
	entry = hash_search(current_targets->by_relation, &relation, HASH_FIND, NULL);
	if (entry)
		invalidate_list(entry->targets);
}

/* A schema's name is part of the tables' names, and its owner decides who may use it. */
static void
invalidate_namespace(Datum arg, int cacheid, uint32 hashvalue)
{
	ListCell   *lc;

	foreach(lc, current_targets ? current_targets->targets : NIL)
	{
		Target	   *target = lfirst(lc);

		if (target->mirror && (hashvalue == 0 || target->mirror->namespace_hash == hashvalue))
			target->valid = false;
	}
}

/* What an owner may read, and whether to_json() of an enum calls a cast: see rows.c. */
static void
invalidate_all(Datum arg, int cacheid, uint32 hashvalue)
{
	if (current_targets)
		targets_invalidate(current_targets);
}

static void
invalidate_servers(Datum arg, int cacheid, uint32 hashvalue)
{
	ListCell   *lc;

	foreach(lc, current_targets ? current_targets->connections : NIL)
		((Connection *) lfirst(lc))->valid = false;
}

/* A statement on one server is nothing to the others; 0 stands for all, and says nothing of any. */
static void
invalidate_server(Datum arg, int cacheid, uint32 hashvalue)
{
	ListCell   *lc;

	foreach(lc, current_targets ? current_targets->connections : NIL)
	{
		Connection *connection = lfirst(lc);

		if (hashvalue != 0 && connection->server && connection->server_hash != hashvalue)
			continue;
		connection->valid = false;
		connection->altered = connection->altered || hashvalue != 0;
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
	if (current_targets == arg)
		current_targets = NULL;
}

Targets *
targets_create(MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "mixpeek targets", ALLOCSET_DEFAULT_SIZES);
	Targets    *targets = MemoryContextAllocZero(context, sizeof(Targets));
	HASHCTL		ctl = {0};
	MemoryContextCallback *callback = MemoryContextAllocZero(context, sizeof(MemoryContextCallback));

	targets->context = context;
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(RelationEntry);
	ctl.hcxt = context;
	targets->by_relation = hash_create("mixpeek targets", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	callback->func = forget_targets;
	callback->arg = targets;
	MemoryContextRegisterResetCallback(context, callback);
	current_targets = targets;
	if (!callbacks_registered)
		register_callbacks();
	callbacks_registered = true;
	return targets;
}

/*
 * Connections
 */

static void
load_server(void *arg)
{
	Connection *connection = arg;
	MemoryContext old = MemoryContextSwitchTo(connection->context);

	connection->server = mixpeek_server_get(connection->name, connection->owner);
	connection->server_hash = GetSysCacheHashValue1(FOREIGNSERVEROID, ObjectIdGetDatum(connection->server->serverid));
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
hurry(Connection *connection)
{
	connection->hurries = true;
	connection->hurry_position = clock_now();
	connection->hurry_batch = HURRY_BATCH;
}

/* What is known of the server's limits outlives a reload that does not touch them. */
static void
load_connection(Connection *connection, MemoryContext parent)
{
	MemoryContext old_context = connection->context;
	MixpeekServer *old_server = connection->server;
	bool		altered = connection->altered;
	char	   *problem;

	connection->context = AllocSetContextCreate(parent, "mixpeek connection", ALLOCSET_SMALL_SIZES);
	connection->server = NULL;
	connection->problem = NULL;
	connection->valid = true;
	connection->altered = false;
	problem = guard_call(load_server, connection);
	if (problem)
	{
		connection->server = NULL;
		connection->problem = MemoryContextStrdup(connection->context, problem);
		if (!connection->problem_reported)
			connection->retry_at = 0;	/* not that of an earlier problem */
	}
	else if (old_server == NULL || altered || !is_unchanged(old_server, connection->server))
	{
		bool		same = old_server != NULL && same_limits(old_server, connection->server);

		if (old_context && (!same || connection->limits.down))
			hurry(connection);
		limits_reload(&connection->limits, connection->server, same);
		if (!same)
		{
			connection->lookup_batch = LOOKUP_BATCH;
			connection->lookups_work = connection->lookups_refused = false;
		}
	}
	if (problem == NULL && connection->problem_reported)
	{
		connection->problem_reported = false;
		ereport(LOG,
				(errmsg("mixpeek_docs: server \"%s\" can be used", connection->name)));
	}
	if (old_context)
		MemoryContextDelete(old_context);
}

void
connection_report_problem(Connection *connection)
{
	connection->retry_at = limits_now() + RETRY_PROBLEM;
	if (connection->problem_reported)
		return;
	connection->problem_reported = true;
	ereport(LOG,
			(errmsg("mixpeek_docs: server \"%s\" cannot be used, its keys wait: %s",
					connection->name, connection->problem)));
}

static Connection *
find_connection(Targets *targets, const char *server, Oid owner)
{
	MemoryContext old;
	Connection *connection;
	ListCell   *lc;

	foreach(lc, targets->connections)
	{
		connection = lfirst(lc);
		if (connection->owner == owner && strcmp(connection->name, server) == 0)
			return connection;
	}
	old = MemoryContextSwitchTo(targets->context);
	connection = palloc0(sizeof(Connection));
	connection->name = pstrdup(server);
	connection->owner = owner;
	connection->mean_bytes = FIRST_MEAN_BYTES;
	dlist_init(&connection->ready);
	targets->connections = lappend(targets->connections, connection);
	MemoryContextSwitchTo(old);
	return connection;
}

Connection *
targets_connection(Targets *targets, const char *server, Oid owner)
{
	Connection *connection = find_connection(targets, server, owner);

	if (!connection->valid || (connection->problem && connection->retry_at <= limits_now()))
		load_connection(connection, targets->context);
	return connection;
}

bool
targets_have_changed(const Targets *targets)
{
	ListCell   *lc;

	foreach(lc, targets->connections)
	{
		if (!((Connection *) lfirst(lc))->valid)
			return true;
	}
	return false;
}

bool
targets_reload(Targets *targets)
{
	bool		any = false;
	ListCell   *lc;

	foreach(lc, targets->connections)
	{
		Connection *connection = lfirst(lc);

		if (connection->valid)
			continue;
		load_connection(connection, targets->context);
		any = true;
	}
	return any;
}

/*
 * Targets
 */

static Target *
find_target(Targets *targets, Oid relation, const char *collection)
{
	RelationEntry *entry = hash_search(targets->by_relation, &relation, HASH_FIND, NULL);
	ListCell   *lc;

	foreach(lc, entry ? entry->targets : NIL)
	{
		Target	   *target = lfirst(lc);

		if (strcmp(target->collection, collection) == 0)
			return target;
	}
	return NULL;
}

static Target *
add_target(Targets *targets, Oid relation, const char *collection)
{
	MemoryContext old = MemoryContextSwitchTo(targets->context);
	Target	   *target = palloc0(sizeof(Target));
	RelationEntry *entry;
	bool		found;

	target->relation = relation;
	target->collection = pstrdup(collection);
	entry = hash_search(targets->by_relation, &relation, HASH_ENTER, &found);
	if (!found)
		entry->targets = NIL;
	entry->targets = lappend(entry->targets, target);
	targets->targets = lappend(targets->targets, target);
	MemoryContextSwitchTo(old);
	return target;
}

static void
remove_target(Targets *targets, Target *target)
{
	RelationEntry *entry = hash_search(targets->by_relation, &target->relation, HASH_FIND, NULL);

	entry->targets = list_delete_ptr(entry->targets, target);
	if (entry->targets == NIL)
		(void) hash_search(targets->by_relation, &target->relation, HASH_REMOVE, NULL);
	pfree(target->collection);
	pfree(target);
}

/* The target has no mirror from here on; jobs may still point to the one that it had. */
static void
release_mirror(Targets *targets, Target *target)
{
	Mirror	   *mirror = target->mirror;

	if (mirror == NULL)
		return;
	target->mirror = NULL;
	target->loaded = false;
	targets->mirror_bytes -= mirror->bytes;
	if (mirror->njobs == 0)
		mirror_free(mirror);
	else
	{
		MemoryContext old = MemoryContextSwitchTo(targets->context);

		targets->stale = lappend(targets->stale, mirror);
		MemoryContextSwitchTo(old);
	}
}

static void
complete_mirror(Mirror *mirror)
{
	Relation	rel = relation_open(mirror->relation, NoLock);

	mirror->native = rows_are_native(rel, mirror);
	ereport(DEBUG1,
			(errmsg("mixpeek_docs: rows of \"%s\" are read by %s", RelationGetRelationName(rel),
					mirror->native ? "PostgreSQL's own code" : "statements of their owner")));
	relation_close(rel, NoLock);
	mirror->marker_prefix = MemoryContextStrdup(mirror->context,
												psprintf("%s:%s:", origin_id(), mirror->table));
	mirror->forgotten = document_was_forgotten(mirror->marker_prefix, mirror->arguments.collection);
}

/* Whatever changes meanwhile makes it invalid again; an error leaves it to be loaded anew. */
static void
load_target(Targets *targets, Target *target)
{
	Mirror	   *mirror;

	release_mirror(targets, target);
	target->loaded = false;
	target->valid = true;
	crash_note_stored(target->relation);
	mirror = mirror_find(target->relation, target->collection, CurrentMemoryContext);
	if (mirror)
	{
		complete_mirror(mirror);
		mirror->bytes = MemoryContextMemAllocated(mirror->context, true);
		targets->mirror_bytes += mirror->bytes;
		MemoryContextSetParent(mirror->context, targets->context);
	}
	else
		targets->some_are_gone = true;
	target->mirror = mirror;
	target->loaded = true;
	crash_note_clear();
}

void
targets_invalidate(Targets *targets)
{
	ListCell   *lc;

	foreach(lc, targets->targets)
		((Target *) lfirst(lc))->valid = false;
}

static bool
is_current(const Target *target)
{
	return target->valid && target->loaded;
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
lock_table(Target *target)
{
	Oid			index;

	if (!ConditionalLockRelationOid(target->relation, RowExclusiveLock))
		return false;
	AcceptInvalidationMessages();
	if (!is_current(target))
		index = index_of_table(target->relation);
	else
		index = target->mirror && target->mirror->key ? target->mirror->key->index : InvalidOid;
	return !OidIsValid(index) || ConditionalLockRelationOid(index, AccessShareLock);
}

/*
 * Locks the partitions, but once a transaction.  Those of a mirror that is not native are
 * its owner's statements to wait for.
 */
static bool
lock_partitions(Target *target)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();

	if (target->mirror == NULL || !target->mirror->native || target->locked_in == now)
		return true;
	if (!parts_lock(target->relation))
		return false;
	target->locked_in = now;
	return true;
}

Target *
targets_get(Targets *targets, Oid relation, const char *collection)
{
	Target	   *target = find_target(targets, relation, collection);

	if (target == NULL)
		target = add_target(targets, relation, collection);
	target->used = ++targets->used;
	if (target->blocked_until > limits_now())
		return target;			/* for whatever reason */
	target->blocked_until = 0;
	if (!aside_try(relation) || !lock_table(target))
	{
		target->blocked_until = limits_now() + LOCK_DELAY;
		return target;
	}
	if (!is_current(target))
		load_target(targets, target);
	if (!lock_partitions(target))
		target->blocked_until = limits_now() + LOCK_DELAY;
	target->connection = target->mirror ?
		targets_connection(targets, target->mirror->arguments.server, target->mirror->owner) : NULL;
	return target;
}

/*
 * Forgetting
 */

static void
free_stale(Targets *targets)
{
	ListCell   *lc;

	foreach(lc, targets->stale)
	{
		Mirror	   *mirror = lfirst(lc);

		if (mirror->njobs > 0)
			continue;
		mirror_free(mirror);
		targets->stale = foreach_delete_current(targets->stale, lc);
	}
}

/* Tables that were dropped or are not mirrored any more. */
static void
remove_gone(Targets *targets)
{
	ListCell   *lc;

	targets->some_are_gone = false;
	foreach(lc, targets->targets)
	{
		Target	   *target = lfirst(lc);

		if (!target->loaded || target->mirror)
			continue;
		remove_target(targets, target);
		targets->targets = foreach_delete_current(targets->targets, lc);
	}
}

static int
compare_use(const ListCell *a, const ListCell *b)
{
	const Target *x = lfirst(a);
	const Target *y = lfirst(b);

	return x->used < y->used ? -1 : x->used > y->used;
}

/* The half that was used last stays. */
static void
release_unused(Targets *targets)
{
	ListCell   *lc;

	list_sort(targets->targets, compare_use);
	foreach(lc, targets->targets)
	{
		Target	   *target = lfirst(lc);

		if (targets->mirror_bytes <= MAX_MIRROR_BYTES / 2)
			break;
		if (target->mirror && target->mirror->njobs == 0)
			release_mirror(targets, target);
	}
}

void
targets_sweep(Targets *targets)
{
	if (targets->stale)
		free_stale(targets);
	if (targets->some_are_gone)
		remove_gone(targets);
	if (targets->mirror_bytes > MAX_MIRROR_BYTES)
		release_unused(targets);
}
