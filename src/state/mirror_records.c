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

List *
mirror_records_select_unknown(Oid relation, const char *collection, const List *keys)
{
	static Statement query = {
		"SELECT DISTINCT k FROM unnest($3) AS k WHERE NOT EXISTS (SELECT FROM mixpeek.documents d"
		" WHERE d.relation = $1 AND d.collection = $2 AND d.key = k)",
		3, {OIDOID, TEXTOID, TEXTARRAYOID}
	};
	char	  **texts = palloc(sizeof(char *) * (list_length(keys) + 1));
	int			n = 0;
	Datum		args[3];
	List	   *unknown = NIL;
	ListCell   *lc;

	foreach(lc, keys)
		texts[n++] = lfirst(lc);
	args[0] = ObjectIdGetDatum(relation);
	args[1] = CStringGetTextDatum(collection);
	args[2] = statement_text_array(texts, n);
	statement_run(&query, args, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
		unknown = statement_lappend(unknown, statement_text(SPI_tuptable->vals[i], 1));
	statement_end();
	return unknown;
}

List *
mirror_records_forget(Oid relation, const char *collection)
{
	static Statement query = {
		"WITH d AS (DELETE FROM mixpeek.documents WHERE relation = $1 AND ($2 IS NULL OR collection = $2)"
		"  RETURNING *),"
		" l AS (SELECT * FROM d WHERE " HAS_DOCUMENT "),"
		" f AS (" KEEP_FORGOTTEN("l") ")"
		" SELECT " MARKER_PREFIX_OF_RECORD " AS prefix, collection,"
		"  count(*) FILTER (WHERE document_id IS NOT NULL OR in_doubt) + count(replaced_id)"
		" FROM l GROUP BY 1, 2 ORDER BY 1, 2",
		2, {OIDOID, TEXTOID}
	};
	Datum		args[2];
	List	   *left = NIL;

	args[0] = ObjectIdGetDatum(relation);
	args[1] = collection ? CStringGetTextDatum(collection) : (Datum) 0;
	statement_run(&query, args, collection ? "  " : " n");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		ForgottenDocuments *documents = statement_palloc(sizeof(ForgottenDocuments));

		documents->prefix = statement_text(SPI_tuptable->vals[i], 1);
		documents->collection = statement_text(SPI_tuptable->vals[i], 2);
		documents->count = DatumGetInt64(statement_value(i, 3, NULL));
		left = statement_lappend(left, documents);
	}
	statement_end();
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
mirror_records_were_forgotten(const char *prefix, const char *collection, List **fields)
{
	static Statement query = {
		"SELECT fields FROM mixpeek.forgotten WHERE marker_prefix IN ('', $1) AND collection IN ('', $2)",
		2, {TEXTOID, TEXTOID}
	};
	Datum		args[2];
	bool		forgotten;

	if (fields)
		*fields = NIL;
	if (has_no_blocks(extension_object(EXTENSION_FORGOTTEN)))
		return false;			/* as in most databases, and much cheaper */
	args[0] = CStringGetTextDatum(prefix);
	args[1] = CStringGetTextDatum(collection);
	statement_run(&query, args, NULL);
	forgotten = SPI_processed > 0;
	for (uint64 i = 0; fields && i < SPI_processed; i++)
		add_fields(fields, i);
	statement_end();
	return forgotten;
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
