/*-------------------------------------------------------------------------
 *
 * query.c
 *		The extension's own SQL: statements planned once a session.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "catalog/pg_type.h"
#include "query.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Of the statement that runs: statements do not nest. */
static MemoryContext result_context;

void
query_run(Statement *query, Datum *args, const char *nulls)
{
	int			rc;

	result_context = CurrentMemoryContext;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (query->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(query->sql, query->nargs, query->types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		query->plan = plan;
	}
	PushActiveSnapshot(GetLatestSnapshot());
	rc = SPI_execute_snapshot(query->plan, args, nulls, GetActiveSnapshot(),
							  InvalidSnapshot, false, true, 0);
	if (rc < 0)
		elog(ERROR, "SPI_execute_snapshot failed: %s", SPI_result_code_string(rc));
}

void
query_end(void)
{
	PopActiveSnapshot();		/* results may have been TOASTed: it was needed until now */
	SPI_finish();
}

void *
query_palloc(Size size)
{
	return MemoryContextAllocZero(result_context, size);
}

char *
query_text(HeapTuple tuple, int column)
{
	bool		isnull;
	Datum		datum = SPI_getbinval(tuple, SPI_tuptable->tupdesc, column, &isnull);
	MemoryContext old;
	char	   *result;

	if (isnull)
		return NULL;
	old = MemoryContextSwitchTo(result_context);
	result = TextDatumGetCString(datum);
	MemoryContextSwitchTo(old);
	return result;
}

List *
query_oids(void)
{
	MemoryContext old = MemoryContextSwitchTo(result_context);
	List	   *oids = NIL;

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;

		oids = lappend_oid(oids, DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
																SPI_tuptable->tupdesc, 1, &isnull)));
	}
	MemoryContextSwitchTo(old);
	return oids;
}

List *
query_lappend(List *list, void *datum)
{
	MemoryContext old = MemoryContextSwitchTo(result_context);

	list = lappend(list, datum);
	MemoryContextSwitchTo(old);
	return list;
}

static Datum
make_array(Datum *datums, bool *nulls, int n, Oid type, int len, bool byval, char align)
{
	int			dims[1];
	int			lbs[1] = {1};

	dims[0] = n;
	if (n == 0)
		return PointerGetDatum(construct_empty_array(type));
	return PointerGetDatum(construct_md_array(datums, nulls, 1, dims, lbs,
											  type, len, byval, align));
}

Datum
query_text_array(char *const *values, int n)
{
	Datum	   *datums = palloc(sizeof(Datum) * (n + 1));
	bool	   *nulls = palloc(sizeof(bool) * (n + 1));

	for (int i = 0; i < n; i++)
	{
		nulls[i] = values[i] == NULL;
		datums[i] = nulls[i] ? (Datum) 0 : CStringGetTextDatum(values[i]);
	}
	return make_array(datums, nulls, n, TEXTOID, -1, false, TYPALIGN_INT);
}

Datum
query_oid_array(const Oid *values, int n)
{
	Datum	   *datums = palloc(sizeof(Datum) * (n + 1));
	bool	   *nulls = palloc0(sizeof(bool) * (n + 1));

	for (int i = 0; i < n; i++)
		datums[i] = ObjectIdGetDatum(values[i]);
	return make_array(datums, nulls, n, OIDOID, sizeof(Oid), true, TYPALIGN_INT);
}
