/*
 * mixpeek_bench.c
 *	  What the benchmark needs inside the server, and SQL cannot do.
 *
 * CREATE FUNCTION bench_render(record, jsonb) RETURNS integer AS '$libdir/mixpeek_bench' LANGUAGE C;
 *		renders a row by a template, with the extension's own template.c; the text's length
 * CREATE FUNCTION bench_length(record) RETURNS integer AS '$libdir/mixpeek_bench' LANGUAGE C;
 *		the row's own length: what it costs to get there
 * CREATE FUNCTION bench_nothing() RETURNS trigger AS '$libdir/mixpeek_bench' LANGUAGE C;
 *		what any row trigger costs
 * CREATE FUNCTION bench_row() RETURNS trigger AS '$libdir/mixpeek_bench' LANGUAGE C;
 *		what any outbox in a table costs, since it costs that: one row (a text) into the table bench_rows,
 *		in the heap and nowhere else
 * CREATE FUNCTION bench_sleep(integer) RETURNS void AS '$libdir/mixpeek_bench' LANGUAGE C;
 *		microseconds; pg_sleep() knows milliseconds only
 */
#include "base/compat.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mirror/template.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/typcache.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(bench_render);
PG_FUNCTION_INFO_V1(bench_length);
PG_FUNCTION_INFO_V1(bench_nothing);
PG_FUNCTION_INFO_V1(bench_row);
PG_FUNCTION_INFO_V1(bench_sleep);

/* What the first call finds out, for all calls of a statement. */
typedef struct RenderState
{
	TupleDesc	desc;
	Template   *template;
	int			ncolumns;
	int		   *positions;		/* of the template's columns in a row */
	Datum	   *all_values;
	bool	   *all_nulls;
	Datum	   *values;
	bool	   *nulls;
	StringInfoData content;
	StringInfoData features;
} RenderState;

static RenderState *
make_state(FunctionCallInfo fcinfo, HeapTupleHeader row)
{
	MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	RenderState *state = palloc0(sizeof(RenderState));
	ListCell   *lc;

	state->desc = lookup_rowtype_tupdesc_copy(HeapTupleHeaderGetTypeId(row), HeapTupleHeaderGetTypMod(row));
	state->template = template_compile(PG_GETARG_JSONB_P(1), state->desc, NULL, "public.wide");
	state->ncolumns = list_length(state->template->columns);
	state->positions = palloc0(sizeof(int) * (state->ncolumns + 1));
	state->values = palloc0(sizeof(Datum) * (state->ncolumns + 1));
	state->nulls = palloc0(sizeof(bool) * (state->ncolumns + 1));
	state->all_values = palloc0(sizeof(Datum) * state->desc->natts);
	state->all_nulls = palloc0(sizeof(bool) * state->desc->natts);
	foreach(lc, state->template->columns)
	{
		TemplateColumn *column = lfirst(lc);

		if (column->form == COLUMN_JSON)
			elog(ERROR, "column \"%s\" is rendered by the row's query", column->name);
		state->positions[foreach_current_index(lc)] = column->attnum - 1;
	}
	initStringInfo(&state->content);
	initStringInfo(&state->features);
	MemoryContextSwitchTo(old);
	return fcinfo->flinfo->fn_extra = state;
}

Datum
bench_render(PG_FUNCTION_ARGS)
{
	HeapTupleHeader header = PG_GETARG_HEAPTUPLEHEADER(0);
	RenderState *state = fcinfo->flinfo->fn_extra;
	HeapTupleData tuple = {0};
	TemplateRow row;

	if (state == NULL)
		state = make_state(fcinfo, header);
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	tuple.t_data = header;
	heap_deform_tuple(&tuple, state->desc, state->all_values, state->all_nulls);
	for (int i = 0; i < state->ncolumns; i++)
	{
		state->values[i] = state->all_values[state->positions[i]];
		state->nulls[i] = state->all_nulls[state->positions[i]];
	}
	row.values = state->values;
	row.nulls = state->nulls;
	row.key = "123456";
	row.marker = "7a0e8f0c-3c0e-4a52-9f7e-0d5b8f1c2d3e:public.wide:123456";
	resetStringInfo(&state->content);
	resetStringInfo(&state->features);
	template_render(state->template, &row, &state->content, &state->features);
	PG_RETURN_INT32(state->content.len + state->features.len);
}

Datum
bench_length(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(HeapTupleHeaderGetDatumLength(PG_GETARG_HEAPTUPLEHEADER(0)));
}

Datum
bench_nothing(PG_FUNCTION_ARGS)
{
	return PointerGetDatum(NULL);
}

Datum
bench_row(PG_FUNCTION_ARGS)
{
	static Oid	table = InvalidOid;
	static Datum value;
	bool		isnull = false;
	Relation	rel;
	HeapTuple	tuple;

	if (!OidIsValid(table))
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		value = CStringGetTextDatum("0123456789012345678901234567890");
		MemoryContextSwitchTo(old);
		table = RelnameGetRelid("bench_rows");
	}
	rel = table_open(table, RowExclusiveLock);
	tuple = heap_form_tuple(RelationGetDescr(rel), &value, &isnull);
	heap_insert(rel, tuple, GetCurrentCommandId(true), 0, NULL);
	heap_freetuple(tuple);
	table_close(rel, NoLock);
	return PointerGetDatum(NULL);
}

Datum
bench_sleep(PG_FUNCTION_ARGS)
{
	pg_usleep(PG_GETARG_INT32(0));
	PG_RETURN_VOID();
}
