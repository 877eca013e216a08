/*-------------------------------------------------------------------------
 *
 * places.c
 *		mixpeek.places and mixpeek.server_places: where servers lead to, and have led to.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/statement.h"
#include "catalog/pg_type.h"
#include "state/mirror_records.h"
#include "state/places.h"
#include "utils/builtins.h"

/* Note what a place's number stands for. */
static void
note_place(const ServerPlace *server)
{
	static Statement insert = {
		"INSERT INTO mixpeek.places VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
		3, {INT8OID, TEXTOID, TEXTOID}
	};
	Datum		args[3];

	args[0] = Int64GetDatum(server->place);
	args[1] = CStringGetTextDatum(server->base_url);
	args[2] = server->namespace ? CStringGetTextDatum(server->namespace) : (Datum) 0;
	(void) statement_execute(&insert, args, server->namespace ? NULL : "  n");
}

PlaceNews
places_note(const ServerPlace *server)
{
	static Statement query = {
		"SELECT FROM mixpeek.server_places WHERE server = $1 AND place = $2", 2, {TEXTOID, INT8OID}
	};
	static Statement insert = {
		"INSERT INTO mixpeek.server_places VALUES ($1, $2) ON CONFLICT DO NOTHING", 2, {TEXTOID, INT8OID}
	};
	static Statement elsewhere = {
		"SELECT FROM mixpeek.documents WHERE server = $1 AND place <> $2 AND relation <> 0::oid LIMIT 1",
		2, {TEXTOID, INT8OID}
	};
	static Statement update = {
		"UPDATE mixpeek.server_places SET place = $2 WHERE server = $1", 2, {TEXTOID, INT8OID}
	};
	Datum		args[2];

	args[0] = CStringGetTextDatum(server->name);
	args[1] = Int64GetDatum(server->place);
	if (statement_execute(&query, args, NULL) > 0)
		return PLACE_KNOWN;
	note_place(server);
	if (statement_execute(&insert, args, NULL) > 0)
		return statement_execute(&elsewhere, args, NULL) > 0 ? PLACE_MOVED : PLACE_NEW;
	(void) statement_execute(&update, args, NULL);
	return PLACE_MOVED;
}

void
places_forget_others(const List *servers)
{
	static Statement delete = {
		"DELETE FROM mixpeek.server_places WHERE server <> ALL ($1)", 1, {TEXTARRAYOID}
	};
	char	  **names = palloc(sizeof(char *) * (list_length(servers) + 1));
	int			n = 0;
	Datum		args[1];
	ListCell   *lc;

	foreach(lc, servers)
		names[n++] = ((ServerPlace *) lfirst(lc))->name;
	args[0] = statement_text_array(names, n);
	(void) statement_execute(&delete, args, NULL);
}

char *
places_describe(int64 place)
{
	static Statement query = {
		"SELECT pg_catalog.format('\"%s\"', base_url) ||"
		" CASE WHEN namespace IS NULL THEN '' ELSE pg_catalog.format(' (namespace \"%s\")', namespace) END FROM mixpeek.places WHERE place = $1",
		1, {INT8OID}
	};
	Datum		args[1];
	char	   *text = NULL;

	args[0] = Int64GetDatum(place);
	statement_run(&query, args, NULL);
	if (SPI_processed > 0)
		text = statement_text(SPI_tuptable->vals[0], 1);
	statement_end();
	return text ? text : pstrdup("an unknown place");
}

List *
places_list_left(const ServerPlace *server)
{
	static Statement query = {
		"SELECT place, coalesce(sum(n) FILTER (WHERE relation <> 0::oid), 0),"
		"  count(DISTINCT relation) FILTER (WHERE relation <> 0::oid), coalesce(sum(n) FILTER (WHERE relation = 0::oid), 0)"
		" FROM (SELECT place, relation, (document_id IS NOT NULL OR in_doubt)::int + (replaced_id IS NOT NULL)::int AS n"
		"  FROM mixpeek.documents WHERE place <> $2 AND " HAS_DOCUMENT " AND CASE WHEN relation <> 0::oid THEN server = $1"
		"   ELSE place IN (SELECT p.place FROM mixpeek.server_places p WHERE p.server = $1) END) d"
		" GROUP BY place",
		2, {TEXTOID, INT8OID}
	};
	Datum		args[2];
	List	   *left = NIL;
	ListCell   *lc;

	args[0] = CStringGetTextDatum(server->name);
	args[1] = Int64GetDatum(server->place);
	statement_run(&query, args, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		LeftDocuments *documents = statement_palloc(sizeof(LeftDocuments));

		documents->place = DatumGetInt64(statement_value(i, 1, NULL));
		documents->documents = DatumGetInt64(statement_value(i, 2, NULL));
		documents->tables = DatumGetInt64(statement_value(i, 3, NULL));
		documents->owed = DatumGetInt64(statement_value(i, 4, NULL));
		left = statement_lappend(left, documents);
	}
	statement_end();
	foreach(lc, left)
	{
		LeftDocuments *documents = lfirst(lc);

		documents->description = places_describe(documents->place);
	}
	return left;
}
