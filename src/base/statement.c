/*-------------------------------------------------------------------------
 *
 * statement.c
 *		The extension's own SQL: statements that are planned once per session.
 *
 * The statements run with a superuser's rights, and refer to tables by name.  Names
 * are resolved when a statement is analyzed, and again after a change of the catalogs.
 * A hook checks the result: a statement of ours may only use objects that are built in or
 * members of the extension.  The check is after names are resolved to oids and before
 * planning, which can execute functions.
 *
 * Triggers that users have created on the extension's tables are not fired, because
 * these statements may be executed by the worker.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "base/extension.h"
#include "base/statement.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

static post_parse_analyze_hook_type prev_post_parse_analyze = NULL;
static ExecutorStart_hook_type prev_executor_start = NULL;

/* The context of the running statement's results. */
static MemoryContext result_context;

/* Set while a statement of the extension is analyzed or started. */
static bool is_own = false;

static bool
is_trusted(Oid class_id, Oid object_id)
{
	return object_id < FirstNormalObjectId || extension_has_member(class_id, object_id);
}

static bool
has_rules(Oid table)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	bool		has;

	if (!HeapTupleIsValid(tuple))
		return false;
	has = ((Form_pg_class) GETSTRUCT(tuple))->relkind == RELKIND_RELATION &&
		((Form_pg_class) GETSTRUCT(tuple))->relhasrules;
	ReleaseSysCache(tuple);
	return has;
}

static void
check_table(Oid table)
{
	if (!is_trusted(RelationRelationId, table))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_SCHEMA_NAME),
				 errmsg("relation \"%s\" is no member of extension \"%s\"",
						get_rel_name(table), EXTENSION_NAME),
				 errhint("The extension's schema or tables were renamed, and other objects have their names.")));
	if (table >= FirstNormalObjectId && has_rules(table))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is a rule on table \"%s\" of extension \"%s\"",
						get_rel_name(table), EXTENSION_NAME),
				 errhint("Drop the rule: the extension's tables can have none.")));
}

static bool
is_untrusted_function(Oid function, void *arg)
{
	if (!is_trusted(ProcedureRelationId, function))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_SCHEMA_NAME),
				 errmsg("function \"%s\" is no member of extension \"%s\"",
						get_func_name(function), EXTENSION_NAME)));
	return false;
}

/* Raise an error unless each object that the statement uses is built in or a member of the extension. */
static bool
check_own(Node *node, void *arg)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		if (castNode(RangeTblEntry, node)->rtekind == RTE_RELATION)
			check_table(castNode(RangeTblEntry, node)->relid);
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker(castNode(Query, node), check_own, arg, QTW_EXAMINE_RTES_BEFORE);
	(void) check_functions_in_node(node, is_untrusted_function, arg);
	return expression_tree_walker(node, check_own, arg);
}

static void
check_after_analyze(ParseState *pstate, Query *statement, CompatJumbleState * jstate)
{
	if (prev_post_parse_analyze)
		prev_post_parse_analyze(pstate, statement, jstate);
	if (is_own)
		(void) check_own((Node *) statement, NULL);
}

/*
 * Remove the triggers from the executor's copies of the tables' descriptors.  The copies are freed
 * with the statement.
 */
static void
disable_triggers_at_start(QueryDesc *statement, int eflags)
{
	ListCell   *lc;

	if (prev_executor_start)
		prev_executor_start(statement, eflags);
	else
		standard_ExecutorStart(statement, eflags);
	if (!is_own)
		return;
	foreach(lc, statement->estate->es_opened_result_relations)
		((ResultRelInfo *) lfirst(lc))->ri_TrigDesc = NULL;
}

void
statement_init(void)
{
	prev_post_parse_analyze = post_parse_analyze_hook;
	post_parse_analyze_hook = check_after_analyze;
	prev_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = disable_triggers_at_start;
}

/* Plan the statement if this has not been done yet, and execute it. */
static void
execute_statement(Statement *statement, Datum *args, const char *nulls)
{
	int			rc;

	if (statement->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(statement->sql, statement->nargs, statement->types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		statement->plan = plan;
	}
	PushActiveSnapshot(GetLatestSnapshot());
	rc = SPI_execute_snapshot(statement->plan, args, nulls, GetActiveSnapshot(),
							  InvalidSnapshot, false, true, 0);
	if (rc < 0)
		elog(ERROR, "SPI_execute_snapshot failed: %s", SPI_result_code_string(rc));
}

void
statement_run(Statement *statement, Datum *args, const char *nulls)
{
	bool		was_own = is_own;

	if (strstr(statement->sql, EXTENSION_SCHEMA "."))
		extension_check_schema();	/* its errors are clearer than those of
									 * check_own() */
	result_context = CurrentMemoryContext;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	is_own = true;
	PG_TRY();
	{
		execute_statement(statement, args, nulls);
	}
	PG_FINALLY();
	{
		is_own = was_own;
	}
	PG_END_TRY();
}

void
statement_end(void)
{
	PopActiveSnapshot();		/* not earlier: results may have been TOASTed */
	SPI_finish();
}

int64
statement_execute(Statement *statement, Datum *args, const char *nulls)
{
	int64		n;

	statement_run(statement, args, nulls);
	n = SPI_processed;
	statement_end();
	return n;
}

void *
statement_palloc(Size size)
{
	return MemoryContextAllocZero(result_context, size);
}

char *
statement_text(HeapTuple tuple, int column)
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

Datum
statement_value(uint64 row, int column, bool *isnull)
{
	bool		is_null;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &is_null);

	Assert(isnull || !is_null);
	if (isnull)
		*isnull = is_null;
	return value;
}

List *
statement_oids(void)
{
	MemoryContext old = MemoryContextSwitchTo(result_context);
	List	   *oids = NIL;

	for (uint64 i = 0; i < SPI_processed; i++)
		oids = lappend_oid(oids, DatumGetObjectId(statement_value(i, 1, NULL)));
	MemoryContextSwitchTo(old);
	return oids;
}

List *
statement_lappend(List *list, void *datum)
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
statement_text_array(char *const *values, int n)
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
statement_oid_array(const Oid *values, int n)
{
	Datum	   *datums = palloc(sizeof(Datum) * (n + 1));
	bool	   *nulls = palloc0(sizeof(bool) * (n + 1));

	for (int i = 0; i < n; i++)
		datums[i] = ObjectIdGetDatum(values[i]);
	return make_array(datums, nulls, n, OIDOID, sizeof(Oid), true, TYPALIGN_INT);
}
