/*-------------------------------------------------------------------------
 *
 * server_checks.c
 *		Warnings of ALTER SERVER.
 *
 * A mirror's documents are at the base_url and in the namespace that its server had when they were
 * sent.  If one of these is altered, the worker mirrors all rows to the new place, and cannot
 * delete the documents at the old one, unless another server leads there.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/user.h"
#include "catalog/pg_authid.h"
#include "entry/server_checks.h"
#include "foreign/foreign.h"
#include "state/origin.h"
#include "state/places.h"

/* Return where a server leads to among places; NULL if it is not ours, or its options are not valid. */
static const ServerPlace *
find_place(const List *places, const char *server)
{
	ListCell   *lc;

	foreach(lc, places)
	{
		if (strcmp(((ServerPlace *) lfirst(lc))->name, server) == 0)
			return lfirst(lc);
	}
	return NULL;
}

/* Check whether one of the servers leads to a place. */
static bool
is_reachable(const List *places, int64 place)
{
	ListCell   *lc;

	foreach(lc, places)
	{
		if (((ServerPlace *) lfirst(lc))->place == place)
			return true;
	}
	return false;
}

static void
warn_of_left(const char *server, const LeftDocuments *left)
{
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("%lld documents of %lld tables stay at %s, where server \"%s\" has led to",
					(long long) left->documents, (long long) left->tables, places_describe(left->place), server),
			 errdetail("The tables' rows will have documents at the new place."),
			 errhint("To have those at the old place deleted, create a server that leads there, with user mappings of the tables' owners.")));
}

void
server_checks_warn(Oid server)
{
	char	   *name = GetForeignServer(server)->servername;
	List	   *places;
	const ServerPlace *place;
	UserState	guard;
	Origin		origin;
	ListCell   *lc;

	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	places = server_list_places();
	place = origin_problem(&origin) ? NULL : find_place(places, name);	/* a copy gets documents
																		 * of its own */
	foreach(lc, place ? places_list_left(place) : NIL)
	{
		LeftDocuments *left = lfirst(lc);

		if (!is_reachable(places, left->place))
			warn_of_left(name, left);
	}
	user_restore(&guard);
}
