/*-------------------------------------------------------------------------
 *
 * unfinished.c
 *		Unfinished records of mixpeek.documents, for sessions that wait for their end.
 *
 * A record that waits for its next attempt has a next_attempt_at, which is
 * indexed.  Records that are "sending" have none: they are the worker's jobs.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/statement.h"
#include "catalog/pg_type.h"
#include "state/unfinished.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

static UnfinishedKey *
read_key(uint64 row, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	UnfinishedKey *key = palloc(sizeof(UnfinishedKey));

	key->relation = DatumGetObjectId(statement_value(row, 1, NULL));
	key->collection = TextDatumGetCString(statement_value(row, 2, NULL));
	key->key = TextDatumGetCString(statement_value(row, 3, NULL));
	key->mirrored_at = DatumGetTimestampTz(statement_value(row, 4, NULL));
	MemoryContextSwitchTo(old);
	return key;
}

static List *
append_key(List *keys, UnfinishedKey *key, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);

	keys = lappend(keys, key);
	MemoryContextSwitchTo(old);
	return keys;
}

bool
unfinished_collect(TimestampTz *position, int *limit, List **keys, MemoryContext context)
{
	static Statement query = {
		"SELECT relation::oid, collection, key, coalesce(mirrored_at, '-infinity'), state = 'pending', next_attempt_at"
		" FROM mixpeek.documents WHERE next_attempt_at >= $1 ORDER BY next_attempt_at LIMIT $2",
		2, {TIMESTAMPTZOID, INT8OID}
	};
	Datum		args[2];
	TimestampTz last = *position;
	bool		more;

	args[0] = TimestampTzGetDatum(*position);
	args[1] = Int64GetDatum(*limit);
	statement_run(&query, args, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		last = DatumGetTimestampTz(statement_value(i, 6, NULL));
		if (DatumGetBool(statement_value(i, 5, NULL)))
			*keys = append_key(*keys, read_key(i, context), context);
	}
	more = SPI_processed == *limit;
	statement_end();
	if (more && last == *position)
		*limit *= 2;			/* all have the same time */
	*position = last;
	return more;
}

bool
unfinished_still(const List *keys, int first, int n)
{
	static Statement query = {
		"SELECT FROM ROWS FROM (unnest($1), unnest($2), unnest($3), unnest($4)) AS u (r, c, k, m)"
		" JOIN mixpeek.documents d ON d.relation = u.r AND d.collection = u.c AND d.key = u.k"
		" WHERE d.state IN ('pending', 'sending') AND coalesce(d.mirrored_at, '-infinity') = u.m LIMIT 1",
		4, {OIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID}
	};
	Oid		   *relations = palloc(sizeof(Oid) * n);
	char	  **collections = palloc(sizeof(char *) * n);
	char	  **texts = palloc(sizeof(char *) * n);
	Datum	   *times = palloc(sizeof(Datum) * n);
	Datum		args[4];

	for (int i = 0; i < n; i++)
	{
		UnfinishedKey *key = list_nth(keys, first + i);

		relations[i] = key->relation;
		collections[i] = key->collection;
		texts[i] = key->key;
		times[i] = TimestampTzGetDatum(key->mirrored_at);
	}
	args[0] = statement_oid_array(relations, n);
	args[1] = statement_text_array(collections, n);
	args[2] = statement_text_array(texts, n);
	args[3] = PointerGetDatum(construct_array(times, n, TIMESTAMPTZOID, sizeof(TimestampTz),
											  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	return statement_execute(&query, args, NULL) > 0;
}
