/*-------------------------------------------------------------------------
 *
 * filter.c
 *		Which rows of a table are mirrored: the argument filter=.
 *
 * A filter becomes part of the statement that reads rows, as a text (source_table.c), which is
 * analyzed and run by processes with the rights of the table's owner.  The worker and the sessions
 * that write to the table only need to know which columns it uses.  They take that from its raw
 * parse tree: analyzing it would call input functions of literals, and so code of users.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/user.h"
#include "mirror/filter.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_clause.h"
#include "parser/parse_collate.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

/*
 * Parsing
 */

/* Error context callback: make the position of a syntax error one in the filter, not in the user's statement. */
static void
add_filter_context(void *arg)
{
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(arg);
	}
}

static List *
parse_statement(char *sql)
{
	ErrorContextCallback callback;
	List	   *statements;

	callback.callback = add_filter_context;
	callback.arg = sql;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	statements = raw_parser(sql, RAW_PARSE_DEFAULT);
	error_context_stack = callback.previous;
	return statements;
}

/* Return the only expression that SELECT has, and nothing else; NULL if that is not so. */
static Node *
only_expression(const SelectStmt * select)
{
	ResTarget  *target;

	if (select->op != SETOP_NONE || select->distinctClause || select->intoClause || select->fromClause ||
		select->whereClause || select->groupClause || select->havingClause || select->windowClause ||
		select->valuesLists || select->sortClause || select->limitOffset || select->limitCount ||
		select->lockingClause || select->withClause || list_length(select->targetList) != 1)
		return NULL;
	target = linitial_node(ResTarget, select->targetList);
	return target->name || target->indirection ? NULL : target->val;
}

/*
 * Return the raw parse tree of a filter.  It must be an expression both on its own and in parentheses, so
 * that nothing else can follow it in the statement that it becomes part of.
 */
static Node *
parse_filter(const char *filter)
{
	List	   *alone = parse_statement(psprintf("SELECT %s", filter));
	List	   *enclosed = parse_statement(psprintf("SELECT (%s\n)", filter));
	RawStmt    *statement = list_length(alone) == 1 ? linitial_node(RawStmt, alone) : NULL;
	Node	   *expression = NULL;

	if (statement && IsA(statement->stmt, SelectStmt) && list_length(enclosed) == 1)
		expression = only_expression((SelectStmt *) statement->stmt);
	if (expression == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the filter is not one SQL expression"),
				 errhint("Write a condition over the columns of the row, as after WHERE.")));
	return expression;
}

/*
 * Columns
 */

typedef struct ColumnSearch
{
	Relation	rel;
	Bitmapset  *columns;
} ColumnSearch;

static void
add_all_columns(ColumnSearch *search)
{
	TupleDesc	desc = RelationGetDescr(search->rel);

	for (int i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped)
			search->columns = bms_add_member(search->columns, i + 1);
	}
}

/* Add the column that a reference means, or all columns if it means the row. */
static void
add_column(ColumnSearch *search, const ColumnRef * reference)
{
	Node	   *last = llast(reference->fields);
	const char *name = IsA(last, A_Star) ? NULL : strVal(last);
	AttrNumber	attnum = name ? get_attnum(RelationGetRelid(search->rel), name) : InvalidAttrNumber;

	if (attnum > 0)
		search->columns = bms_add_member(search->columns, attnum);
	else if (attnum < 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the filter must not use the system column \"%s\"", name)));
	else if (name == NULL || (list_length(reference->fields) == 1 &&
							  strcmp(name, RelationGetRelationName(search->rel)) == 0))
		add_all_columns(search);
	else
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("filter: the table has no column \"%s\"", name)));
}

static bool
search_columns(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SubLink))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the filter must not contain a subquery"),
				 errdetail("Changes of other rows would not be noticed.")));
	if (IsA(node, ParamRef))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_PARAMETER),
				 errmsg("the filter must not contain the parameter $%d", ((ParamRef *) node)->number)));
	if (IsA(node, ColumnRef))
	{
		add_column(context, (ColumnRef *) node);
		return false;
	}
	return raw_expression_tree_walker(node, search_columns, context);
}

Bitmapset *
filter_columns(Relation rel, const char *filter)
{
	ColumnSearch search = {rel, NULL};
	UserState	guard;

	user_switch(&guard, rel->rd_rel->relowner); /* for the settings of the
												 * parser */
	(void) search_columns(parse_filter(filter), &search);
	user_restore(&guard);
	return search.columns;
}

/*
 * Analyzing
 */

/* Analyze a filter, as the current user and by the current search path. */
static Node *
analyze_filter(Relation rel, const char *filter)
{
	ParseState *pstate = make_parsestate(NULL);
	Node	   *raw = parse_filter(filter);
	ColumnSearch search = {rel, NULL};
	Node	   *expression;

	(void) search_columns(raw, &search);
	addNSItemToQuery(pstate, addRangeTableEntryForRelation(pstate, rel, AccessShareLock, NULL, false, true),
					 false, true, true);
	expression = transformWhereClause(pstate, raw, EXPR_KIND_WHERE, "filter");
	assign_expr_collations(pstate, expression);
	if (contain_volatile_functions(expression))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the filter must not call volatile functions"),
				 errdetail("Whether a row matches must depend on the row only."),
				 errhint("Declare the function IMMUTABLE or STABLE if it is.")));
	free_parsestate(pstate);
	return expression;
}

bool
filter_check(Relation rel, const char *filter)
{
	UserState	guard;
	Node	   *expression;

	user_switch(&guard, rel->rd_rel->relowner);
	expression = analyze_filter(rel, filter);
	(void) expression_planner((Expr *) copyObject(expression)); /* evaluates constants */
	user_restore(&guard);
	return !contain_mutable_functions(expression);
}

char *
filter_qualify(Relation rel, const char *filter)
{
	char	   *search_path = pstrdup(GetConfigOption("search_path", false, false));
	UserState	guard;
	int			nest_level;
	Node	   *expression;
	char	   *qualified;

	user_switch(&guard, rel->rd_rel->relowner);
	nest_level = NewGUCNestLevel();
	(void) set_config_option("search_path", search_path, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	expression = analyze_filter(rel, filter);
	unpin_settings(nest_level);
	qualified = deparse_expression(expression,
								   deparse_context_for(RelationGetRelationName(rel), RelationGetRelid(rel)),
								   false, false);
	user_restore(&guard);
	return qualified;
}

/*
 * WHEN (...)
 */

/* In the condition of a trigger, OLD and NEW are range table entries of these numbers. */
#define OLD_VARNO	PRS2_OLD_VARNO
#define NEW_VARNO	PRS2_NEW_VARNO

/*
 * Return the condition as an expression over the row's columns; NULL if it is not about one row,
 * because it compares OLD and NEW.
 */
static char *
deparse_when(Relation rel, const char *when)
{
	Node	   *condition = stringToNode(when);
	Bitmapset  *varnos = pull_varnos(NULL, condition);

	if (bms_num_members(varnos) != 1)
		return NULL;
	ChangeVarNodes(condition, NEW_VARNO, OLD_VARNO, 0);
	return deparse_expression(condition,
							  deparse_context_for(RelationGetRelationName(rel), RelationGetRelid(rel)),
							  false, false);
}

void
filter_refuse_when(Relation rel, const char *when, bool deparse)
{
	char	   *filter;

	if (when == NULL)
		return;
	filter = deparse ? deparse_when(rel, when) : NULL;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("a mirror's trigger must not have a condition WHEN"),
			 errdetail("A row that ceases to match would keep its document."),
			 filter ? errhint("Create it without WHEN, and with a filter: mixpeek.mirror(..., filter => %s), or the trigger argument %s.",
							  quote_literal_cstr(filter), quote_literal_cstr(psprintf("filter=%s", filter))) :
			 errhint("Create it without WHEN. To mirror some of the rows only, use a filter over the row's columns: mixpeek.mirror(..., filter => ...).")));
}
