/*-------------------------------------------------------------------------
 *
 * server_checks.c
 *		Warnings of ALTER SERVER and DROP SERVER.
 *
 * A mirror's documents are at the base_url and in the namespace that its server had when they were
 * sent.  If one of these is altered, the worker mirrors all rows to the new place, and cannot
 * delete the documents at the old one, unless another server leads there.  The same holds for the documents
 * at the old place whose deletes are owed already.  A server that is dropped or renamed leaves mirrors without a
 * server, and only their next changed rows would tell.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/statement.h"
#include "base/user.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "entry/server_checks.h"
#include "foreign/foreign.h"
#include "state/origin.h"
#include "state/places.h"
#include "utils/builtins.h"

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
 * Return the documents that no server leads to any more since this one was altered or dropped, as a List of
 * LeftDocuments.  If the database is a copy, the documents are not its own.
 */
static List *
find_left(const List *places, const ServerPlace *server)
{
	Origin		origin;
	List	   *left = NIL;
	ListCell   *lc;

	if (origin_problem(&origin))
		return NIL;
	foreach(lc, places_list_left(server))
	{
		if (!is_reachable(places, ((LeftDocuments *) lfirst(lc))->place))
			left = lappend(left, lfirst(lc));
	}
	return left;
}

/* Warn of the documents of a server's mirrors that stay where it has led to. */
static void
warn_of_mirrored(const LeftDocuments *documents, const char *server)
{
	if (documents->documents > 0)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("%lld documents of %lld tables stay at %s, where server \"%s\" has led to",
						(long long) documents->documents, (long long) documents->tables, documents->description, server),
				 errdetail("The tables' rows will have documents at the new place."),
				 errhint("To have those at the old place deleted, create a server that leads there, with user mappings of the tables' owners.")));
}

/* Warn of the documents that stay there although their deletes are owed. */
static void
warn_of_owed(const LeftDocuments *documents, const char *server)
{
	if (documents->owed > 0)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg_plural("%lld document that is to be deleted stays at %s, where server \"%s\" has led to",
							   "%lld documents that are to be deleted stay at %s, where server \"%s\" has led to",
							   documents->owed, (long long) documents->owed, documents->description, server),
				 errhint("To have them deleted, create a server that leads there, with user mappings of the roles that mixpeek.documents.owner names.")));
}

void
server_checks_warn_altered(Oid server)
{
	char	   *name = GetForeignServer(server)->servername;
	List	   *places;
	const ServerPlace *place;
	List	   *left = NIL;
	UserState	guard;
	ListCell   *lc;

	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	places = server_list_places();
	place = find_place(places, name);
	if (place)
		left = find_left(places, place);
	user_restore(&guard);
	foreach(lc, left)
	{
		warn_of_mirrored(lfirst(lc), name);
		warn_of_owed(lfirst(lc), name);
	}
}

/* Return the number of mirrors with this server. */
static int64
count_mirrors(const char *server)
{
	static Statement query = {"SELECT FROM mixpeek.mirrors WHERE server = $1", 1, {TEXTOID}};
	Datum		args[1];

	args[0] = CStringGetTextDatum(server);
	return statement_execute(&query, args, NULL);
}

void
server_checks_warn_gone(const char *name)
{
	ServerPlace nowhere = {.name = pstrdup(name)};
	List	   *left;
	int64		mirrors;
	UserState	guard;
	ListCell   *lc;

	if (GetForeignServerByName(name, true))
		return;
	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	mirrors = count_mirrors(name);
	left = find_left(server_list_places(), &nowhere);
	user_restore(&guard);
	if (mirrors > 0)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg_plural("%lld mirror has no server any more: \"%s\" does not exist",
							   "%lld mirrors have no server any more: \"%s\" does not exist",
							   mirrors, (long long) mirrors, name),
				 errdetail("Changes of their rows wait until it does."),
				 errhint("Create it again, or call mixpeek.mirror(..., server => '...'). The view mixpeek.mirrors shows which mirrors these are.")));
	foreach(lc, left)
		warn_of_owed(lfirst(lc), name);
}
