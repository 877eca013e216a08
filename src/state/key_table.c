/*-------------------------------------------------------------------------
 *
 * key_table.c
 *		mixpeek.keys: the definition of each mirror's key.
 *
 * Records and markers name rows by the texts of their keys.  If the key gets other columns or
 * types, or an enum's label another name, these texts belong to no row, or to another one.  So the
 * definition of the key is stored, and the worker compares it with the catalogs: whenever
 * it has compiled the mirror anew, and when the outbox has an entry OUTBOX_DEFINITION, which an event
 * trigger adds.  If it has changed, all records and all rows are checked: records whose key no row
 * has end in a delete, and rows get documents under their new keys.
 *
 * Only the worker inserts and updates.  It holds a lock on the mirrored table then, as does whoever
 * deletes, so that no one waits for a row of this table.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/transam.h"
#include "base/statement.h"
#include "catalog/pg_type.h"
#include "state/key_table.h"
#include "state/outbox.h"
#include "state/outbox_buffer.h"
#include "utils/builtins.h"

static Datum
make_text_array(const List *texts)
{
	char	  **values = palloc(sizeof(char *) * list_length(texts));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, texts)
		values[n++] = lfirst(lc);
	return statement_text_array(values, n);
}

/* Insert or replace a mirror's definition. */
static void
put_definition(Datum *args)
{
	static Statement query = {
		"INSERT INTO mixpeek.keys (relation, collection, definition) VALUES ($1, $2, $3)"
		" ON CONFLICT (relation, collection) DO UPDATE SET definition = excluded.definition",
		3, {OIDOID, TEXTOID, TEXTARRAYOID}
	};

	(void) statement_execute(&query, args, NULL);
}

bool
key_table_store(Oid relation, const char *collection, const List *definition)
{
	static Statement query = {
		"SELECT definition = $3, definition[1] = ($3)[1] AND definition <@ $3 FROM mixpeek.keys"
		" WHERE relation = $1 AND collection = $2",
		3, {OIDOID, TEXTOID, TEXTARRAYOID}
	};
	Datum		args[3];
	bool		found;
	bool		same = false;
	bool		same_texts = false;

	args[0] = ObjectIdGetDatum(relation);
	args[1] = CStringGetTextDatum(collection);
	args[2] = make_text_array(definition);
	statement_run(&query, args, NULL);
	found = SPI_processed > 0;
	if (found)
	{
		same = DatumGetBool(statement_value(0, 1, NULL));
		same_texts = DatumGetBool(statement_value(0, 2, NULL));
	}
	statement_end();
	if (!same)
		put_definition(args);
	return found && !same_texts;
}

void
key_table_set_problem(Oid relation, const char *collection, const char *problem)
{
	static Statement query = {
		"UPDATE mixpeek.keys SET problem = $3 WHERE relation = $1 AND collection = $2 AND problem IS DISTINCT FROM $3",
		3, {OIDOID, TEXTOID, TEXTOID}
	};
	Datum		args[3];

	args[0] = ObjectIdGetDatum(relation);
	args[1] = CStringGetTextDatum(collection);
	args[2] = problem ? CStringGetTextDatum(problem) : (Datum) 0;
	(void) statement_execute(&query, args, problem ? "   " : "  n");
}

char *
key_table_problem(Oid relation, const char *collection)
{
	static Statement query = {
		"SELECT problem FROM mixpeek.keys WHERE relation = $1 AND collection = $2",
		2, {OIDOID, TEXTOID}
	};
	Datum		args[2];
	char	   *problem = NULL;

	args[0] = ObjectIdGetDatum(relation);
	args[1] = CStringGetTextDatum(collection);
	statement_run(&query, args, NULL);
	if (SPI_processed > 0)
		problem = statement_text(SPI_tuptable->vals[0], 1);
	statement_end();
	return problem;
}

void
key_table_forget(Oid relation, const char *collection)
{
	static Statement query = {
		"DELETE FROM mixpeek.keys WHERE relation = $1 AND ($2 IS NULL OR collection = $2)",
		2, {OIDOID, TEXTOID}
	};
	Datum		args[2];

	args[0] = ObjectIdGetDatum(relation);
	args[1] = collection ? CStringGetTextDatum(collection) : (Datum) 0;
	(void) statement_execute(&query, args, collection ? "  " : " n");
}

/*
 * Changes of tables and types
 */

/* Add an entry to the outbox for each mirror that a statement returns. */
static void
add_entries(Statement *query, Datum *args)
{
	statement_run(query, args, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
		outbox_add(DatumGetObjectId(statement_value(i, 1, NULL)), OUTBOX_DEFINITION,
				   statement_text(SPI_tuptable->vals[i], 2), NULL);
	statement_end();
}

void
key_table_check_tables(const List *relations)
{
	static Statement query = {
		"SELECT relation::oid, collection FROM mixpeek.keys WHERE relation = ANY ($1)",
		1, {OIDARRAYOID}
	};
	Oid		   *oids = palloc(sizeof(Oid) * (list_length(relations) + 1));
	int			n = 0;
	ListCell   *lc;
	Datum		args[1];

	foreach(lc, relations)
		oids[n++] = lfirst_oid(lc);
	args[0] = statement_oid_array(oids, n);
	add_entries(&query, args);
}

void
key_table_check_types(void)
{
	static Statement query = {
		"SELECT relation::oid, collection FROM mixpeek.keys k WHERE EXISTS ("
		" SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = k.relation AND a.atttypid >= $1 AND NOT a.attisdropped)",
		1, {OIDOID}
	};
	Datum		args[1];

	args[0] = ObjectIdGetDatum(FirstNormalObjectId);
	add_entries(&query, args);
}

List *
key_table_with_enum(Oid type)
{
	static Statement query = {
		"SELECT DISTINCT relation::oid FROM mixpeek.keys k WHERE EXISTS ("
		" SELECT FROM unnest(k.definition) d WHERE starts_with(d, $1))",
		1, {TEXTOID}
	};
	Datum		args[1];
	List	   *relations;

	args[0] = CStringGetTextDatum(psprintf("%u ", type));
	statement_run(&query, args, NULL);
	relations = statement_oids();
	statement_end();
	return relations;
}
