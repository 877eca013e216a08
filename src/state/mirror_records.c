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
#include "base/clock.h"
#include "base/extension.h"
#include "base/statement.h"
#include "catalog/pg_type.h"
#include "mirror/key.h"
#include "remote/marker.h"
#include "state/field_list.h"
#include "state/mirror_records.h"
#include "state/outbox.h"
#include "state/outbox_buffer.h"
#include "state/owed.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

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

int64
mirror_records_add_listed(const ListedPage *page)
{
	static Statement query = {
		"WITH u AS MATERIALIZED (SELECT k, i FROM ROWS FROM (unnest($6), unnest($7)) AS u (k, i)"
		"  WHERE NOT EXISTS (SELECT FROM mixpeek.documents d WHERE d.document_id = i AND d.document_id IS NOT NULL)),"
		" r AS (INSERT INTO mixpeek.documents (relation, collection, key, document_id, server, place, marker, state,"
		"   next_attempt_at)"
		"  SELECT $1, $2, k, min(i), $4, $5, $3 || k, 'pending', $8 FROM u GROUP BY k"
		"  ON CONFLICT DO NOTHING RETURNING key, document_id),"
		" s AS (SELECT u.* FROM u JOIN mixpeek.documents d ON d.relation = $1 AND d.collection = $2 AND d.key = u.k"
		"   WHERE d.document_id IS NOT NULL AND NOT d.in_doubt AND d.replaced_id IS DISTINCT FROM u.i"
		"  UNION ALL SELECT u.* FROM u JOIN r ON r.key = u.k AND r.document_id <> u.i),"
		" o AS (INSERT INTO mixpeek.documents (relation, owner, collection, key, document_id, server, place, marker, state,"
		"   next_attempt_at)"
		"  SELECT 0, $9, $2, pg_catalog.gen_random_uuid()::text, i, $4, $5, $3 || k, 'pending', $8 FROM s RETURNING key)"
		" SELECT (SELECT count(*) FROM r) + (SELECT count(*) FROM o)",
		9, {OIDOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID, OIDOID}
	};
	char	  **keys = palloc(sizeof(char *) * (list_length(page->documents) + 1));
	char	  **ids = palloc(sizeof(char *) * (list_length(page->documents) + 1));
	int			n = 0;
	Datum		args[9];
	int64		added;
	ListCell   *lc;

	foreach(lc, page->documents)
	{
		const ListedDocument *document = lfirst(lc);

		keys[n] = document->key;
		ids[n++] = document->document_id;
	}
	args[0] = ObjectIdGetDatum(page->relation);
	args[1] = CStringGetTextDatum(page->collection);
	args[2] = CStringGetTextDatum(page->prefix);
	args[3] = CStringGetTextDatum(page->server);
	args[4] = Int64GetDatum(page->place);
	args[5] = statement_text_array(keys, n);
	args[6] = statement_text_array(ids, n);
	args[7] = TimestampTzGetDatum(clock_now());
	args[8] = ObjectIdGetDatum(page->owner);
	statement_run(&query, args, NULL);
	added = DatumGetInt64(statement_value(0, 1, NULL));
	statement_end();
	return added;
}

List *
mirror_records_forget(Oid relation, const char *collection, const char *table)
{
	static Statement query = {
		"WITH d AS (DELETE FROM mixpeek.documents WHERE relation = $1 AND ($2 IS NULL OR collection = $2)"
		"  RETURNING *),"
		" l AS (SELECT * FROM d WHERE " HAS_DOCUMENT "),"
		" f AS (" KEEP_FORGOTTEN("l", "pg_catalog.split_part(marker, ':', 1) || ':' || $4 || ':'") "),"
		" o AS (INSERT INTO mixpeek.documents (relation, owner, collection, key, document_id, server, place, marker, state,"
		"   next_attempt_at)"
		"  SELECT 0, c.relowner, collection, pg_catalog.gen_random_uuid()::text, replaced_id, server, place, marker, 'pending', $3"
		"  FROM l JOIN pg_catalog.pg_class c ON c.oid = l.relation WHERE replaced_id IS NOT NULL"
		"  RETURNING key)"
		" SELECT " MARKER_PREFIX_OF_RECORD " AS prefix, collection,"
		"  count(*) FILTER (WHERE document_id IS NOT NULL OR in_doubt)"
		"  + count(replaced_id) FILTER (WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = l.relation)),"
		"  (SELECT count(*) FROM o)"
		" FROM l GROUP BY 1, 2 ORDER BY 1, 2",
		4, {OIDOID, TEXTOID, TIMESTAMPTZOID, TEXTOID}
	};
	Datum		args[4];
	char		nulls[] = "    ";
	bool		owes = false;
	List	   *left = NIL;

	args[0] = ObjectIdGetDatum(relation);
	args[1] = collection ? CStringGetTextDatum(collection) : (Datum) 0;
	args[2] = TimestampTzGetDatum(clock_now());
	args[3] = table ? CStringGetTextDatum(table) : (Datum) 0;
	nulls[1] = collection ? ' ' : 'n';
	nulls[3] = table ? ' ' : 'n';
	statement_run(&query, args, nulls);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		ForgottenDocuments *documents = statement_palloc(sizeof(ForgottenDocuments));

		documents->prefix = statement_text(SPI_tuptable->vals[i], 1);
		documents->collection = statement_text(SPI_tuptable->vals[i], 2);
		documents->count = DatumGetInt64(statement_value(i, 3, NULL));
		left = statement_lappend(left, documents);
		owes = DatumGetInt64(statement_value(i, 4, NULL)) > 0;
	}
	statement_end();
	if (owes)
		owed_announce();
	return left;
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
mirror_records_were_forgotten(const char *prefix, const char *collection, ForgottenMirror *forgotten)
{
	static Statement query = {
		"SELECT fields, marker_prefix, renamed_prefix = $1 AND marker_prefix <> $1 FROM mixpeek.forgotten"
		" WHERE (marker_prefix IN ('', $1) OR renamed_prefix = $1) AND collection IN ('', $2)",
		2, {TEXTOID, TEXTOID}
	};
	Datum		args[2];
	bool		any;

	if (forgotten)
		memset(forgotten, 0, sizeof(ForgottenMirror));
	if (has_no_blocks(extension_object(EXTENSION_FORGOTTEN)))
		return false;			/* as in most databases, and much cheaper */
	args[0] = CStringGetTextDatum(prefix);
	args[1] = CStringGetTextDatum(collection);
	statement_run(&query, args, NULL);
	any = SPI_processed > 0;
	for (uint64 i = 0; forgotten && i < SPI_processed; i++)
	{
		bool		isnull;

		add_fields(&forgotten->fields, i);
		if (DatumGetBool(statement_value(i, 3, &isnull)) && !isnull)
			forgotten->prefixes = statement_lappend(forgotten->prefixes, statement_text(SPI_tuptable->vals[i], 2));
	}
	statement_end();
	return any;
}

/*
 * Keys are marked by entries, not in their records: a record that the caller's
 * transaction has changed would make the worker wait for that transaction.
 */
int64
mirror_records_insert_entries(Statement *query, Datum *args, const char *nulls)
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
	return mirror_records_insert_entries(&query, args, nulls);
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
	return mirror_records_insert_entries(&query, args, collection ? "   " : " n ");
}
