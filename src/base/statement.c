/*-------------------------------------------------------------------------
 *
 * statement.c
 *		The extension's own SQL: statements planned once a session.
 *
 * They run with a superuser's rights, and name tables.  What a name means is
 * looked up once, when a statement is analyzed (again after a change of the
 * catalogs), and there it is checked: an own statement may only be about what is
 * built in or a member of the extension.  That is after names are bound to oids and
 * before anything is planned, which can run functions.
 *
 * No trigger that somebody has put on the extension's tables is run: what
 * executes these statements may be the worker.
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

/* Of the statement that runs: statements do not nest. */
static MemoryContext result_context;

/* Is what is analyzed, or started, one of ours? */
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
				 errhint("The extension's schema or tables were renamed, and something else has their names.")));
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

/* Raises an error unless all that the statement is about is built in or the extension's. */
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
on_post_parse_analyze(ParseState *pstate, Query *statement, CompatJumbleState * jstate)
{
	if (prev_post_parse_analyze)
		prev_post_parse_analyze(pstate, statement, jstate);
	if (is_own)
		(void) check_own((Node *) statement, NULL);
}

/* The executor's own copies of the descriptors, which go with the statement. */
static void
on_executor_start(QueryDesc *statement, int eflags)
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
	post_parse_analyze_hook = on_post_parse_analyze;
	prev_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = on_executor_start;
}

static void
execute(Statement *statement, Datum *args, const char *nulls)
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
		extension_check_schema();	/* what is wrong with it is said better
									 * than by what follows */
	result_context = CurrentMemoryContext;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	is_own = true;
	PG_TRY();
	{
		execute(statement, args, nulls);
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
	PopActiveSnapshot();		/* results may have been TOASTed: it was
								 * needed until now */
	SPI_finish();
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

List *
statement_oids(void)
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
