/*-------------------------------------------------------------------------
 *
 * connection.c
 *		The worker's view of its servers and mirrors, loaded when first needed.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "connection.h"
#include "document.h"
#include "guard.h"
#include "origin.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

/* Seconds after which a server without mapping, grant or sense is looked at again. */

/* Bodies are taken to be large until some were seen. */
#define FIRST_MEAN_BYTES (1024.0 * 1024.0)

/* There is one worker a process; invalidation callbacks cannot be removed. */
static Targets *current_targets = NULL;
static bool callbacks_registered = false;

static void
invalidate_relation(Datum arg, Oid relation)
{
	ListCell   *lc;

	foreach(lc, current_targets ? current_targets->targets : NIL)
	{
		Target	   *target = lfirst(lc);

		if (relation == InvalidOid || target->relation == relation)
		{
			target->valid = false;
			target->blocked_until = 0;
		}
	}
}

static void
invalidate_servers(Datum arg, int cacheid, uint32 hashvalue)
{
	ListCell   *lc;

	foreach(lc, current_targets ? current_targets->connections : NIL)
		((Connection *) lfirst(lc))->valid = false;
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
	MemoryContextCallback *callback = MemoryContextAllocZero(context, sizeof(MemoryContextCallback));

	targets->context = context;
	callback->func = forget_targets;
	callback->arg = targets;
	MemoryContextRegisterResetCallback(context, callback);
	current_targets = targets;
	if (!callbacks_registered)
	{
		CacheRegisterRelcacheCallback(invalidate_relation, (Datum) 0);
		CacheRegisterSyscacheCallback(FOREIGNSERVEROID, invalidate_servers, (Datum) 0);
		CacheRegisterSyscacheCallback(USERMAPPINGOID, invalidate_servers, (Datum) 0);
		CacheRegisterSyscacheCallback(FOREIGNDATAWRAPPEROID, invalidate_servers, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHOID, invalidate_servers, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHMEMMEMROLE, invalidate_servers, (Datum) 0);
		callbacks_registered = true;
	}
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
	MemoryContextSwitchTo(old);
}

static bool
same_limits(const MixpeekServer *a, const MixpeekServer *b)
{
	return a->max_connections == b->max_connections &&
		a->requests_per_minute == b->requests_per_minute &&
		strcmp(a->base_url, b->base_url) == 0 && strcmp(a->api_key, b->api_key) == 0;
}

/* What is known of the server's limits outlives a reload that does not touch them. */
static void
load_connection(Connection *connection, MemoryContext parent)
{
	MemoryContext old_context = connection->context;
	MixpeekServer *old_server = connection->server;
	char	   *problem;

	connection->context = AllocSetContextCreate(parent, "mixpeek connection", ALLOCSET_SMALL_SIZES);
	connection->server = NULL;
	connection->problem = NULL;
	connection->valid = true;
	problem = guard_call(load_server, connection);
	if (problem)
	{
		connection->server = NULL;
		connection->problem = MemoryContextStrdup(connection->context, problem);
		if (!connection->problem_reported)
			connection->retry_at = 0;	/* not that of an earlier problem */
	}
	else
	{
		bool		same = old_server != NULL && same_limits(old_server, connection->server);

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

/*
 * Targets
 */

static Target *
find_target(Targets *targets, Oid relation, const char *collection)
{
	MemoryContext old;
	Target	   *target;
	ListCell   *lc;

	foreach(lc, targets->targets)
	{
		target = lfirst(lc);
		if (target->relation == relation && strcmp(target->collection, collection) == 0)
			return target;
	}
	old = MemoryContextSwitchTo(targets->context);
	target = palloc0(sizeof(Target));
	target->relation = relation;
	target->collection = pstrdup(collection);
	targets->targets = lappend(targets->targets, target);
	MemoryContextSwitchTo(old);
	return target;
}

static void
load_target(Targets *targets, Target *target)
{
	if (target->mirror)			/* jobs may point to it; see targets_sweep() */
	{
		MemoryContext old = MemoryContextSwitchTo(targets->context);

		targets->stale = lappend(targets->stale, target->mirror);
		target->mirror = NULL;	/* should an error end this here */
		MemoryContextSwitchTo(old);
	}
	target->valid = true;
	target->mirror = mirror_find(target->relation, target->collection, targets->context);
	if (target->mirror == NULL)
		return;
	target->mirror->marker_prefix =
		MemoryContextStrdup(target->mirror->context,
							psprintf("%s:%s:", origin_id(), target->mirror->table));
	target->mirror->forgotten = document_was_forgotten(target->mirror->marker_prefix,
													   target->collection);
}

void
targets_invalidate(Targets *targets)
{
	ListCell   *lc;

	foreach(lc, targets->targets)
		((Target *) lfirst(lc))->valid = false;
}

Target *
targets_get(Targets *targets, Oid relation, const char *collection)
{
	Target	   *target;

	target = find_target(targets, relation, collection);
	target->blocked_until = 0;

	/*
	 * The lock of whoever changes rows, for it keeps CREATE TRIGGER out: a new
	 * template's keys are to be seen before the invalidation message is, and
	 * must not be rendered from the old one.
	 */
	if (!ConditionalLockRelationOid(relation, RowExclusiveLock))
	{
		target->blocked_until = limits_now() + LOCK_DELAY;
		return target;
	}
	AcceptInvalidationMessages();
	if (!target->valid)
		load_target(targets, target);
	target->connection = target->mirror ?
		targets_connection(targets, target->mirror->arguments.server, target->mirror->owner) : NULL;
	return target;
}

/* With no job alive nothing points to a mirror that has been replaced. */
void
targets_sweep(Targets *targets, bool no_jobs)
{
	ListCell   *lc;

	if (!no_jobs || targets->stale == NIL)
		return;
	foreach(lc, targets->stale)
		mirror_free(lfirst(lc));
	list_free(targets->stale);
	targets->stale = NIL;
}
