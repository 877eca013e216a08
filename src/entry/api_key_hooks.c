/*-------------------------------------------------------------------------
 *
 * api_key_hooks.c
 *		Keeps API keys in statements from being shown.
 *
 * CREATE USER MAPPING has an API key in its text.  It is removed from what
 * pg_stat_activity shows, from the text that other libraries get (such as
 * pg_stat_statements), from the copy that the server keeps of a prepared statement, and from
 * the context of errors.  See api_key_text.c for how it is found.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "entry/api_key_hooks.h"
#include "entry/api_key_text.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/analyze.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/backend_status.h"
#include "utils/memutils.h"

static ProcessUtility_hook_type prev_process_utility = NULL;
static shmem_startup_hook_type prev_shmem_startup = NULL;
static post_parse_analyze_hook_type prev_post_parse_analyze = NULL;

/*
 * Overwrite the copies that the server keeps of a prepared statement's text, and shows each time
 * that the statement is bound or executed.  The statement is run from its tree, so the text can be
 * changed.  The copy is found as the identifier of its memory context, because the hook
 * gets only the client's text.
 */
static void
overwrite_prepared(const char *text, const char *redacted)
{
	for (MemoryContext context = CurrentMemoryContext->firstchild; context; context = context->nextchild)
	{
		if (strcmp(context->name, "CachedPlanSource") == 0 && context->ident &&
			strcmp(context->ident, text) == 0)
			memcpy(unconstify(char *, context->ident), redacted, strlen(redacted));
	}
}

/* Replace the client's statement as pg_stat_activity, and the log if the statement fails, show it. */
static void
show_redacted(const DefElem *option)
{
	char	   *shown;

	if (debug_query_string == NULL || MessageContext == NULL)
		return;
	shown = api_key_hide(debug_query_string, 0, 0, option);
	if (shown == NULL)
		return;
	debug_query_string = MemoryContextStrdup(MessageContext, shown);
	pgstat_report_activity(STATE_RUNNING, debug_query_string);
}

/* Hide the API keys in a statement, and return its text without them; NULL if there are none. */
static char *
hide_api_keys(const char *text, int location, int len, Node *statement)
{
	DefElem    *option = api_key_find_option(statement);
	char	   *redacted = api_key_hide(text, location, len, option);

	if (redacted == NULL)
		return NULL;
	overwrite_prepared(text, redacted);
	show_redacted(option);
	return redacted;
}

static void
hide_api_keys_at_analysis(ParseState *pstate, Query *query, CompatJumbleState * jstate)
{
	if (prev_post_parse_analyze)
		prev_post_parse_analyze(pstate, query, jstate);
	if (pstate->p_sourcetext)
		(void) hide_api_keys(pstate->p_sourcetext, query->stmt_location, query->stmt_len,
							 query->utilityStmt);
}

/* Hide the API keys in a field of an error. */
static void
redact_error_field(char **field, const DefElem *option)
{
	char	   *redacted = *field ? api_key_hide(*field, 0, 0, option) : NULL;

	if (redacted)
		*field = redacted;
}

/* Rethrow the current error without API keys: an error within a function has the statement's text in its context. */
pg_noreturn static void
rethrow_redacted(MemoryContext context, const DefElem *option)
{
	ErrorData  *edata;

	MemoryContextSwitchTo(context);
	edata = CopyErrorData();
	FlushErrorState();
	redact_error_field(&edata->context, option);
	redact_error_field(&edata->internalquery, option);
	ReThrowError(edata);
}

/* Run a statement that has an API key in its text; the next hooks get the redacted text. */
static void
run_redacted(ProcessUtility_hook_type next, PlannedStmt *pstmt, const char *redacted, bool readOnlyTree,
			 ProcessUtilityContext context, ParamListInfo params,
			 QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	MemoryContext old = CurrentMemoryContext;
	DefElem    *option = copyObject(api_key_find_option(pstmt->utilityStmt));

	PG_TRY();
	{
		next(pstmt, redacted, readOnlyTree, context, params, queryEnv, dest, qc);
	}
	PG_CATCH();
	{
		rethrow_redacted(old, option);
	}
	PG_END_TRY();
}

static void
run_without_api_keys(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
					 ProcessUtilityContext context, ParamListInfo params,
					 QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	ProcessUtility_hook_type next = prev_process_utility ? prev_process_utility : standard_ProcessUtility;
	const char *redacted = hide_api_keys(queryString, pstmt->stmt_location, pstmt->stmt_len,
										 pstmt->utilityStmt);

	if (redacted)
		run_redacted(next, pstmt, redacted, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

/*
 * Install the ProcessUtility hook after all libraries have installed theirs, so that it is called
 * before them and they get texts without API keys.
 */
static void
install_first_utility_hook(void)
{
	static bool is_installed = false;

	if (prev_shmem_startup)
		prev_shmem_startup();
	if (is_installed)			/* the server restarts after a crash */
		return;
	is_installed = true;
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = run_without_api_keys;
}

void
api_key_hooks_install(void)
{
	prev_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = install_first_utility_hook;
	prev_post_parse_analyze = post_parse_analyze_hook;
	post_parse_analyze_hook = hide_api_keys_at_analysis;
}
