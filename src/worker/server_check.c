/*-------------------------------------------------------------------------
 *
 * server_check.c
 *		Where servers lead to, and what must be done when that has changed.
 *
 * A record says what is known of a document at one place (base_url and namespace).  A claim compares
 * the place with that of the job's account, and a job whose record is of another place leaves it
 * behind (decision.c).  This file has all keys claimed that must be compared: however a server comes
 * to lead elsewhere (ALTER SERVER, DROP and CREATE SERVER, another server that gets its name), the
 * place of its name differs from the one in mixpeek.server_places.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "state/outbox.h"
#include "state/owed.h"
#include "state/places.h"
#include "utils/memutils.h"
#include "worker/server_check.h"
#include "worker/worker.h"

/* Enter all rows and records of a server's mirrors. */
static void
enter_mirrors(Worker *worker, const char *server)
{
	static const char operations[] = {OUTBOX_ALL_STORED, OUTBOX_ALL_ROWS, '\0'};

	outbox_put_mirrors(operations, server);
	outbox_scan_restart(worker);
	worker->moves++;
}

/* Read where all servers lead to, into memory of the cache. */
static void
read_places(MirrorCache *cache)
{
	MemoryContext old;

	cache->places = NIL;
	if (cache->places_context == NULL)
		cache->places_context = AllocSetContextCreate(cache->context, "mixpeek places", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(cache->places_context);
	old = MemoryContextSwitchTo(cache->places_context);
	cache->places = server_list_places();
	MemoryContextSwitchTo(old);
}

/* Before there is an origin nothing was sent; and a restore may be going on, which brings the places. */
bool
server_check_is_due(const Worker *worker)
{
	return worker->origin.id && worker->cache->server_changes != worker->cache->server_changes_handled;
}

void
server_check_run(Worker *worker)
{
	MirrorCache *cache = worker->cache;
	ListCell   *lc;

	if (!server_check_is_due(worker))
		return;
	cache->server_changes_read = cache->server_changes;
	read_places(cache);
	foreach(lc, cache->places)
	{
		const ServerPlace *server = lfirst(lc);
		PlaceNews	news = places_note(server);

		if (news == PLACE_MOVED)
			enter_mirrors(worker, server->name);
		if (news != PLACE_KNOWN || (cache->server_changes_handled > 0 && owed_is_any_at(server->place)))
			owed_put_return(server->place, &worker->schedule.scan.news);
	}
	places_forget_others(cache->places);
}

void
server_check_committed(Worker *worker)
{
	worker->cache->server_changes_handled = worker->cache->server_changes_read;
}

/* Check whether a role has an API key for a server, and may use it. */
static bool
is_usable(Worker *worker, const char *name, Oid owner)
{
	return mirror_cache_account(worker->cache, name, owner)->server != NULL;
}

const char *
server_check_find(Worker *worker, const char *name, int64 place, Oid owner)
{
	const char *found = NULL;
	bool		usable = false;
	ListCell   *lc;

	foreach(lc, worker->cache->places)
	{
		const ServerPlace *server = lfirst(lc);
		bool		same = strcmp(server->name, name) == 0;

		if (server->place != place || (usable && !same))
			continue;
		if (is_usable(worker, server->name, owner))
		{
			found = server->name;
			usable = true;
		}
		else if (found == NULL || (same && !usable))
			found = server->name;
	}
	return found;
}

const char *
server_check_choose(Worker *worker, const char *name, bool place_known, int64 place, Oid owner)
{
	const char *server = place_known ? server_check_find(worker, name, place, owner) : NULL;

	return server ? server : name;
}
