/*-------------------------------------------------------------------------
 *
 * mirror_records.h
 *		Records of mixpeek.documents by mirror: all those of a table's
 *		documents in one collection.
 *
 * All functions must be called in a transaction.  Where collection may be NULL, this
 * means all collections.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_MIRROR_RECORDS_H
#define MIXPEEK_MIRROR_RECORDS_H

#include "base/statement.h"
#include "nodes/pg_list.h"

/*
 * Return up to limit keys of a mirror that follow "after" (NULL: from the first one), in the order
 * of the primary key, as a List of char *.
 */
extern List *mirror_records_scan_keys(Oid relation, const char *collection, const char *after, int limit);

/*
 * What a record says of its document's content, as parts of an SQL statement: the assignments that forget
 * all of it, and a condition.  What may be at the API stays: document_id, replaced_id, in_doubt, and
 * fields, which names more fields than the document has rather than fewer.
 */
#define FORGET_CONTENT "content_hash = NULL, features_hash = NULL, intent_hash = NULL," \
	" enrichments_current = CASE WHEN enrichments_current THEN false END"
#define KNOWS_CONTENT "(content_hash IS NOT NULL OR features_hash IS NOT NULL OR intent_hash IS NOT NULL" \
	" OR enrichments_current)"

/* Check whether the API may have a document of a record, as an SQL expression. */
#define HAS_DOCUMENT "(document_id IS NOT NULL OR replaced_id IS NOT NULL OR in_doubt)"

/*
 * Keep the markers' prefixes of records in mixpeek.forgotten, with the names of their fields, as an SQL
 * statement without its end.  records: a query's name; current: an SQL expression, see
 * mirror_records_forget()
 */
#define KEEP_FORGOTTEN(records, current) \
	"INSERT INTO mixpeek.forgotten AS f (marker_prefix, collection, fields, renamed_prefix)" \
	" SELECT " MARKER_PREFIX_OF_RECORD ", collection, pg_catalog.array_agg(DISTINCT name) FILTER (WHERE name IS NOT NULL)," \
	"  nullif(" current ", " MARKER_PREFIX_OF_RECORD ")" \
	" FROM " records " LEFT JOIN LATERAL pg_catalog.unnest(fields) AS u (name) ON true GROUP BY 1, 2, 4" \
	" ON CONFLICT (marker_prefix, collection) DO UPDATE SET fields =" \
	"  (SELECT pg_catalog.array_agg(DISTINCT name) FROM pg_catalog.unnest(f.fields || EXCLUDED.fields) AS u (name))," \
	"  renamed_prefix = coalesce(EXCLUDED.renamed_prefix, f.renamed_prefix)" \
	"  WHERE EXCLUDED.fields IS NOT NULL OR EXCLUDED.renamed_prefix IS NOT NULL"

/* Documents that are left at the API. */
typedef struct ForgottenDocuments
{
	char	   *prefix;			/* of their markers */
	char	   *collection;
	int64		count;
} ForgottenDocuments;

/* A document that a page of its collection lists. */
typedef struct ListedDocument
{
	char	   *key;
	char	   *document_id;
} ListedDocument;

/* Where and whose the documents of a page are. */
typedef struct ListedPage
{
	Oid			relation;
	const char *collection;
	const char *prefix;			/* of the markers */
	Oid			owner;			/* of the mirror */
	const char *server;
	int64		place;
	const List *documents;		/* ListedDocument */
} ListedPage;

/*
 * Add a record for each listed document that no record knows: one of its key, if that has none, with
 * which the row's content is sent, or without a row the document is deleted; else an owed delete, as
 * the key has another document.  All are due at once.  Returns their number.
 */
extern int64 mirror_records_add_listed(const ListedPage *page);

/*
 * Delete a table's records, all (NULL) or those of a collection.  If the API may have documents of them, the markers' prefix is kept
 * in mixpeek.forgotten, with the names of their fields.  Documents that others have replaced become owed
 * deletes, unless the table is gone.  table: its name in markers of new rows (arguments_find_table();
 * NULL: there are no more), which is kept for records whose markers have a former name.  Returns
 * which documents are left, as a List of ForgottenDocuments.
 */
extern List *mirror_records_forget(Oid relation, const char *collection, const char *table);

/* What is known of the documents of forgotten records of a mirror. */
typedef struct ForgottenMirror
{
	List	   *fields;			/* root-level fields of the template's own
								 * that they may have, as char * */
	List	   *prefixes;		/* of markers that they may have besides the
								 * mirror's own, as char *: its table's former
								 * names */
} ForgottenMirror;

/*
 * Check whether records of a mirror were forgotten, so that new rows may have documents already.
 * prefix: see remote/marker.h.  forgotten may be NULL.
 */
extern bool mirror_records_were_forgotten(const char *prefix, const char *collection, ForgottenMirror *forgotten);

/*
 * Run a statement that inserts into the outbox and returns how many entries, and the first and the
 * last one's ctid.  Returns the number of entries.
 */
extern int64 mirror_records_insert_entries(Statement *query, Datum *args, const char *nulls);

/*
 * Mark failed records to be tried again: all, or if "error" is not NULL those whose last_error is
 * LIKE it.  Returns their number.
 */
extern int64 mirror_records_retry(Oid relation, const char *collection, const char *error);

/* Mark mirrored records to be polled for enrichments once more.  Returns their number. */
extern int64 mirror_records_refresh(Oid relation, const char *collection);

#endif							/* MIXPEEK_MIRROR_RECORDS_H */
