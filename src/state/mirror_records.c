/*-------------------------------------------------------------------------
 *
 * mirror_records.c
 *		Records of mixpeek.documents by mirror: all those of a table's
 *		documents in one collection.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/relation.h"
#include "base/extension.h"
#include "base/statement.h"
#include "catalog/pg_type.h"
#include "mirror/key.h"
#include "remote/marker.h"
#include "state/field_list.h"
#include "state/mirror_records.h"
#include "state/outbox.h"
#include "state/outbox_buffer.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"

List *
mirror_records_scan_keys(Oid relation, const char *collection, const char *after, int limit)
{
	static Statement query = {
		"SELECT key FROM mixpeek.documents WHERE relation = $1 AND collection = $2"
		" AND key > $3 ORDER BY key LIMIT $4",
		4, {OIDOID, TEXTOID, TEXTOID, INT8OID}
	};
	static Statement first_query = {
		"SELECT key FROM mixpeek.documents WHERE relation = $1 AND collection = $2"
		" AND ($3 IS NULL) ORDER BY key LIMIT $4",
		4, {OIDOID, TEXTOID, TEXTOID, INT8OID}
	};
	Datum		args[4];
	List	   *keys = NIL;

	args[0] = ObjectIdGetDatum(relation);
	args[1] = CStringGetTextDatum(collection);
	args[2] = after ? CStringGetTextDatum(after) : (Datum) 0;
	args[3] = Int64GetDatum(limit);
	statement_run(after ? &query : &first_query, args, after ? NULL : "  n ");
	for (uint64 i = 0; i < SPI_processed; i++)
		keys = statement_lappend(keys, statement_text(SPI_tuptable->vals[i], 1));
	statement_end();
	return keys;
}

void
mirror_records_forget(Oid relation, const char *collection)
{
	static Statement query = {
		"WITH d AS (DELETE FROM mixpeek.documents WHERE relation = $1 AND ($2 IS NULL OR collection = $2)"
		"  RETURNING marker, key, collection, document_id, in_doubt, fields)"
		" INSERT INTO mixpeek.forgotten AS f (marker_prefix, collection, fields)"
		" SELECT " MARKER_PREFIX_OF_RECORD ", collection, pg_catalog.array_agg(DISTINCT name) FILTER (WHERE name IS NOT NULL)"
		" FROM d LEFT JOIN LATERAL pg_catalog.unnest(d.fields) AS u (name) ON true"
		" WHERE document_id IS NOT NULL OR in_doubt GROUP BY 1, 2"
		" ON CONFLICT (marker_prefix, collection) DO UPDATE SET fields ="
		"  (SELECT pg_catalog.array_agg(DISTINCT name) FROM pg_catalog.unnest(f.fields || EXCLUDED.fields) AS u (name))"
		"  WHERE EXCLUDED.fields IS NOT NULL",
		2, {OIDOID, TEXTOID}
	};
	Datum		args[2];

	args[0] = ObjectIdGetDatum(relation);
	args[1] = collection ? CStringGetTextDatum(collection) : (Datum) 0;
	(void) statement_execute(&query, args, collection ? "  " : " n");
}

/* Check whether a table exists and is empty, and was so since its last VACUUM. */
static bool
has_no_blocks(Oid table)
{
	Relation	rel = OidIsValid(table) ? try_relation_open(table, AccessShareLock) : NULL;
	bool		result;

	if (rel == NULL)
		return false;
	result = RelationGetNumberOfBlocks(rel) == 0;
	relation_close(rel, NoLock);
	return result;
}

/* Add the names in a row's array to a list, in the memory of the results. */
static void
add_fields(List **fields, uint64 row)
{
	bool		isnull;
	Datum		array = statement_value(row, 1, &isnull);
	ListCell   *lc;

	if (isnull)
		return;
	foreach(lc, field_list_of_array(array))
	{
		char	   *name = statement_palloc(strlen(lfirst(lc)) + 1);

		*fields = statement_lappend(*fields, strcpy(name, lfirst(lc)));
	}
}

bool
mirror_records_were_forgotten(const char *prefix, const char *collection, List **fields)
{
	static Statement query = {
		"SELECT fields FROM mixpeek.forgotten WHERE marker_prefix IN ('', $1) AND collection IN ('', $2)",
		2, {TEXTOID, TEXTOID}
	};
	Datum		args[2];
	bool		forgotten;

	*fields = NIL;
	if (has_no_blocks(extension_object(EXTENSION_FORGOTTEN)))
		return false;			/* as in most databases, and much cheaper */
	args[0] = CStringGetTextDatum(prefix);
	args[1] = CStringGetTextDatum(collection);
	statement_run(&query, args, NULL);
	forgotten = SPI_processed > 0;
	for (uint64 i = 0; i < SPI_processed; i++)
		add_fields(fields, i);
	statement_end();
	return forgotten;
}

/*
 * Run a statement that inserts into the outbox and returns how many entries, and the first and the
 * last one's ctid.  Returns the number of entries.
 *
 * Keys are marked by entries, not in their records: a record that the caller's
 * transaction has changed would make the worker wait for that transaction.
 */
static int64
insert_entries_of_records(Statement *query, Datum *args, const char *nulls)
{
	int64		n;

	statement_run(query, args, nulls);
	n = DatumGetInt64(statement_value(0, 1, NULL));
	if (n > 0)
		outbox_note_written((ItemPointer) DatumGetPointer(statement_value(0, 2, NULL)),
							(ItemPointer) DatumGetPointer(statement_value(0, 3, NULL)));
	statement_end();
	return n;
}

int64
mirror_records_retry(Oid relation, const char *collection, const char *error)
{
	static Statement query = {
		"WITH i AS (INSERT INTO mixpeek.outbox (relation, operation, collection, key)"
		" SELECT relation, $4, collection, key FROM mixpeek.documents"
		" WHERE relation = $1 AND state = 'failed' AND ($2 IS NULL OR collection = $2)"
		" AND ($3 IS NULL OR last_error LIKE $3) AND key !~ " KEY_ABBREVIATED_PATTERN
		" RETURNING ctid) SELECT count(*), min(ctid), max(ctid) FROM i",
		4, {OIDOID, TEXTOID, TEXTOID, CHAROID}
	};
	Datum		args[4];
	char		nulls[] = "    ";

	args[0] = ObjectIdGetDatum(relation);
	args[1] = collection ? CStringGetTextDatum(collection) : (Datum) 0;
	args[2] = error ? CStringGetTextDatum(error) : (Datum) 0;
	args[3] = CharGetDatum(OUTBOX_RECHECK);
	nulls[1] = collection ? ' ' : 'n';
	nulls[2] = error ? ' ' : 'n';
	return insert_entries_of_records(&query, args, nulls);
}

int64
mirror_records_refresh(Oid relation, const char *collection)
{
	static Statement query = {
		"WITH i AS (INSERT INTO mixpeek.outbox (relation, operation, collection, key)"
		" SELECT relation, $3, collection, key FROM mixpeek.documents"
		" WHERE relation = $1 AND state = 'mirrored' AND ($2 IS NULL OR collection = $2)"
		" RETURNING ctid) SELECT count(*), min(ctid), max(ctid) FROM i",
		3, {OIDOID, TEXTOID, CHAROID}
	};
	Datum		args[3];

	args[0] = ObjectIdGetDatum(relation);
	args[1] = collection ? CStringGetTextDatum(collection) : (Datum) 0;
	args[2] = CharGetDatum(OUTBOX_REFRESH);
	return insert_entries_of_records(&query, args, collection ? "   " : " n ");
}
