/*-------------------------------------------------------------------------
 *
 * bound_statement.c
 *		Statements that run on one table, whatever its name means by then.
 *
 * A statement names its table, and between the look-up of that name and the
 * analysis of the statement the table may be renamed and another one given its
 * name.  An oid is never taken over.  Therefore a hook checks, each time that such a
 * statement is analyzed, that it came out on the oid that was meant.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "mirror/bound_statement.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"

/* The statement that is being run; sql is NULL if none is. */
static struct
{
	const char *sql;
	Oid			relation;
}			bound;

static post_parse_analyze_hook_type prev_post_parse_analyze = NULL;

/* Check whether an analyzed statement uses a table other than the bound one. */
static bool
uses_other_table(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, uses_other_table, context, QTW_EXAMINE_RTES_BEFORE);
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *entry = (RangeTblEntry *) node;

		return entry->rtekind == RTE_RELATION && entry->relid != bound.relation;
	}
	return expression_tree_walker(node, uses_other_table, context);
}

static void
check_bound_table(ParseState *pstate, Query *query, CompatJumbleState * jstate)
{
	if (prev_post_parse_analyze)
		prev_post_parse_analyze(pstate, query, jstate);
	if (bound.sql && pstate->p_sourcetext && strcmp(pstate->p_sourcetext, bound.sql) == 0 &&
		uses_other_table((Node *) query, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the mirrored table's name now belongs to another table")));
}

void
bound_statement_init(void)
{
	prev_post_parse_analyze = post_parse_analyze_hook;
	post_parse_analyze_hook = check_bound_table;
}

void
bound_statement_run(Oid relation, const char *sql, const SPIExecuteOptions *options)
{
	const char *outer_sql = bound.sql;
	Oid			outer_relation = bound.relation;
	int			rc = 0;

	bound.sql = sql;
	bound.relation = relation;
	PG_TRY();
	{
		rc = SPI_execute_extended(sql, options);
	}
	PG_FINALLY();
	{
		bound.sql = outer_sql;
		bound.relation = outer_relation;
	}
	PG_END_TRY();
	if (rc < 0)
		elog(ERROR, "SPI_execute_extended failed: %s", SPI_result_code_string(rc));
}
