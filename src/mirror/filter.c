/*-------------------------------------------------------------------------
 *
 * filter.c
 *		Which rows of a table are mirrored: the argument filter=.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "mirror/filter.h"
#include "nodes/primnodes.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/ruleutils.h"

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

	if (bms_is_member(OLD_VARNO, varnos) && bms_is_member(NEW_VARNO, varnos))
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
