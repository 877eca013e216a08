/*-------------------------------------------------------------------------
 *
 * server_checks.c
 *		Warnings of ALTER SERVER.
 *
 * A mirror's documents are at the base_url and in the namespace that its server had when they were
 * sent.  If one of these is altered, the worker mirrors all rows to the new place, and cannot
 * delete the documents at the old one, unless another server leads there.  The same holds for the documents
 * at the old place whose deletes are owed already.
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

/*
 * Return the documents that no server leads to any more since this one was altered, as a List of LeftDocuments.
 * If the database is a copy, the documents are not its own.
 */
static List *
find_left(const char *server)
{
	List	   *places = server_list_places();
	const ServerPlace *place = find_place(places, server);
	Origin		origin;
	List	   *left = NIL;
	ListCell   *lc;

	if (place == NULL || origin_problem(&origin))
		return NIL;
	foreach(lc, places_list_left(place))
	{
		if (!is_reachable(places, ((LeftDocuments *) lfirst(lc))->place))
			left = lappend(left, lfirst(lc));
	}
	return left;
}

void
server_checks_warn(Oid server)
{
	char	   *name = GetForeignServer(server)->servername;
	List	   *left;
	UserState	guard;
	ListCell   *lc;

	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	left = find_left(name);
	user_restore(&guard);
	foreach(lc, left)
	{
		LeftDocuments *documents = lfirst(lc);

		if (documents->documents > 0)
			ereport(WARNING,
					(errcode(ERRCODE_WARNING),
					 errmsg("%lld documents of %lld tables stay at %s, where server \"%s\" has led to",
							(long long) documents->documents, (long long) documents->tables, documents->description, name),
					 errdetail("The tables' rows will have documents at the new place."),
					 errhint("To have those at the old place deleted, create a server that leads there, with user mappings of the tables' owners.")));
		if (documents->owed > 0)
			ereport(WARNING,
					(errcode(ERRCODE_WARNING),
					 errmsg_plural("%lld document that is to be deleted stays at %s, where server \"%s\" has led to",
								   "%lld documents that are to be deleted stay at %s, where server \"%s\" has led to",
								   documents->owed, (long long) documents->owed, documents->description, name),
					 errhint("To have them deleted, create a server that leads there, with user mappings of the roles that mixpeek.documents.owner names.")));
	}
}
