/*-------------------------------------------------------------------------
 *
 * hooks.c
 *		What the extension must notice of other people's statements.
 *
 * - DROP, ALTER and CREATE DATABASE want the database for themselves: its
 *   worker leaves while they run.
 * - CREATE and DROP EXTENSION and CREATE DATABASE may mean a worker to start or to
 *   end, once they are committed.
 * - A server, a mapping or a right to use a server that changes may be what the
 *   worker waits for.
 * - COMMIT PREPARED makes entries of the outbox visible without a commit
 *   callback in any session.
 * - An API key is part of the text of CREATE USER MAPPING; pg_stat_activity and
 *   pg_stat_statements are not to show it.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "base/extension.h"
#include "base/shmem.h"
#include "base/statement.h"
#include "base/user.h"
#include "base/wakeup.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "entry/hooks.h"
#include "entry/statement_key.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/analyze.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

static ProcessUtility_hook_type prev_process_utility = NULL;
static shmem_startup_hook_type prev_shmem_startup = NULL;
static post_parse_analyze_hook_type prev_post_parse_analyze = NULL;
static object_access_hook_type prev_object_access = NULL;

/* Databases in which the transaction keeps workers from running. */
static List *held_databases = NIL;

static void
release_databases(void)
{
	ListCell   *lc;

	foreach(lc, held_databases)
		shmem_release_database(lfirst_oid(lc));
	list_free(held_databases);
	held_databases = NIL;
}

static void
at_resource_release(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	if (phase == RESOURCE_RELEASE_AFTER_LOCKS && is_top_level)
		release_databases();
}

static void
on_object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class_id, object_id, sub_id, arg);
	if (class_id == ExtensionRelationId && (access == OAT_POST_CREATE || access == OAT_DROP))
		wakeup_at_commit(WAKEUP_PROBE);
}

static bool
drops_extension(Node *parsetree)
{
	ListCell   *lc;

	if (!IsA(parsetree, DropStmt) || castNode(DropStmt, parsetree)->removeType != OBJECT_EXTENSION ||
		!OidIsValid(get_extension_oid(EXTENSION_NAME, true)))
		return false;
	foreach(lc, castNode(DropStmt, parsetree)->objects)
	{
		if (strcmp(strVal(lfirst(lc)), EXTENSION_NAME) == 0)
			return true;
	}
	return false;
}

/* The database that a statement must have for itself; InvalidOid: none. */
static Oid
exclusive_database(Node *parsetree)
{
	const char *name = NULL;
	ListCell   *lc;

	if (IsA(parsetree, DropdbStmt))
		name = castNode(DropdbStmt, parsetree)->dbname;
	else if (IsA(parsetree, RenameStmt) && castNode(RenameStmt, parsetree)->renameType == OBJECT_DATABASE)
		name = castNode(RenameStmt, parsetree)->subname;
	else if (IsA(parsetree, AlterDatabaseStmt))
	{
		foreach(lc, castNode(AlterDatabaseStmt, parsetree)->options)
		{
			if (strcmp(lfirst_node(DefElem, lc)->defname, "tablespace") == 0)
				name = castNode(AlterDatabaseStmt, parsetree)->dbname;
		}
	}
	else if (IsA(parsetree, CreatedbStmt))
	{
		foreach(lc, castNode(CreatedbStmt, parsetree)->options)
		{
			if (strcmp(lfirst_node(DefElem, lc)->defname, "template") == 0 &&
				lfirst_node(DefElem, lc)->arg)
				name = defGetString(lfirst_node(DefElem, lc));
		}
	}
	else if (drops_extension(parsetree))
		return MyDatabaseId;
	return name ? get_database_oid(name, true) : InvalidOid;
}

static bool
may_copy_database(Oid database)
{
	HeapTuple	role = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	bool		may = HeapTupleIsValid(role) && HeapTupleIsValid(tuple) &&
		((Form_pg_authid) GETSTRUCT(role))->rolcreatedb &&
		(((Form_pg_database) GETSTRUCT(tuple))->datistemplate ||
		 COMPAT_OWNS_DATABASE(database, GetUserId()));

	if (HeapTupleIsValid(role))
		ReleaseSysCache(role);
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return may;
}

/* The statement checks that itself, but later: nobody else ends a database's worker. */
static bool
may_hold(Node *parsetree, Oid database)
{
	if (RecoveryInProgress())
		return false;
	if (superuser())
		return true;
	if (IsA(parsetree, CreatedbStmt))
		return may_copy_database(database);
	if (IsA(parsetree, DropStmt))
		return COMPAT_OWNS_EXTENSION(get_extension_oid(EXTENSION_NAME, false), GetUserId());
	return COMPAT_OWNS_DATABASE(database, GetUserId());
}

/* The worker leaves, and none comes until the transaction's end. */
static void
hold_database(Oid database)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	held_databases = lappend_oid(held_databases, database);
	MemoryContextSwitchTo(old);
	shmem_hold_database(database);
}

/*
 * The server keeps a copy of what is prepared, and shows it each time that it is
 * bound or executed.  The statement is made of the tree, so the text may be
 * overwritten.  It is found as the identifier of its memory context: the hook
 * gets only the client's own.
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

/* What pg_stat_activity, and the log where the statement fails, show of the client's statement. */
static void
show_redacted(const DefElem *option)
{
	char	   *shown;

	if (debug_query_string == NULL || MessageContext == NULL)
		return;
	shown = statement_hide_key(debug_query_string, 0, 0, option);
	if (shown == NULL)
		return;
	debug_query_string = MemoryContextStrdup(MessageContext, shown);
	pgstat_report_activity(STATE_RUNNING, debug_query_string);
}

/* Sees to it that API keys are not shown, and returns the text without; NULL if there is none. */
static char *
hide_api_keys(const char *text, int location, int len, Node *statement)
{
	DefElem    *option = statement_key_option(statement);
	char	   *redacted = statement_hide_key(text, location, len, option);

	if (redacted == NULL)
		return NULL;
	overwrite_prepared(text, redacted);
	show_redacted(option);
	return redacted;
}

static void
on_post_parse_analyze(ParseState *pstate, Query *query, CompatJumbleState * jstate)
{
	if (prev_post_parse_analyze)
		prev_post_parse_analyze(pstate, query, jstate);
	if (pstate->p_sourcetext)
		(void) hide_api_keys(pstate->p_sourcetext, query->stmt_location, query->stmt_len,
							 query->utilityStmt);
}

static bool
may_change_server(Node *parsetree)
{
	switch (nodeTag(parsetree))
	{
		case T_CreateForeignServerStmt:
		case T_AlterForeignServerStmt:
		case T_CreateUserMappingStmt:
		case T_AlterUserMappingStmt:
		case T_DropUserMappingStmt:
		case T_GrantRoleStmt:
			return true;
		case T_GrantStmt:
			return castNode(GrantStmt, parsetree)->objtype == OBJECT_FOREIGN_SERVER;
		case T_RenameStmt:
			return castNode(RenameStmt, parsetree)->renameType == OBJECT_FOREIGN_SERVER;
		case T_AlterOwnerStmt:
			return castNode(AlterOwnerStmt, parsetree)->objectType == OBJECT_FOREIGN_SERVER;
		default:
			return false;
	}
}

static void
after_statement(Node *parsetree)
{
	if (may_change_server(parsetree))
		wakeup_at_commit(WAKEUP_WORKER);
	if (IsA(parsetree, TransactionStmt) &&
		castNode(TransactionStmt, parsetree)->kind == TRANS_STMT_COMMIT_PREPARED)
	{
		shmem_request_probe(MyDatabaseId);	/* it may have made the extension */
		shmem_wake_worker(MyDatabaseId);
		shmem_send_prepared(MyDatabaseId);
	}
	else if (IsA(parsetree, CreatedbStmt) || IsA(parsetree, DropdbStmt) ||
			 IsA(parsetree, AlterDatabaseStmt))
		wakeup_at_commit(WAKEUP_PROBE_ALL);
}

/*
 * DROP EXTENSION ... CASCADE drops the tables of the extension, and then the
 * triggers of mirrored ones; a writer has locked the mirrored table, and at its commit
 * wants the outbox.  So the mirrored tables are locked first.
 */
static void
lock_mirrored_tables(void)
{
	static Statement query = {
		"SELECT DISTINCT tgrelid FROM pg_catalog.pg_trigger WHERE tgfoid = $1 ORDER BY tgrelid", 1, {OIDOID}
	};
	List	   *tables;
	Datum		function = ObjectIdGetDatum(extension_object(EXTENSION_MIRROR_ROW));
	UserState	guard;
	ListCell   *lc;

	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	statement_run(&query, &function, NULL);
	tables = statement_oids();
	statement_end();
	user_restore(&guard);
	foreach(lc, tables)
		LockRelationOid(lfirst_oid(lc), AccessExclusiveLock);
}

static void
redact_error_field(char **field, const DefElem *option)
{
	char	   *redacted = *field ? statement_hide_key(*field, 0, 0, option) : NULL;

	if (redacted)
		*field = redacted;
}

/* An error within a function has the statement's text in its context. */
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

/* Runs a statement that has an API key in its text; others get the text without. */
static void
run_redacted(ProcessUtility_hook_type next, PlannedStmt *pstmt, const char *redacted, bool readOnlyTree,
			 ProcessUtilityContext context, ParamListInfo params,
			 QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	MemoryContext old = CurrentMemoryContext;
	DefElem    *option = copyObject(statement_key_option(pstmt->utilityStmt));

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
on_process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
				   ProcessUtilityContext context, ParamListInfo params,
				   QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	ProcessUtility_hook_type next = prev_process_utility ? prev_process_utility : standard_ProcessUtility;
	Node	   *parsetree = pstmt->utilityStmt;
	Oid			database = exclusive_database(parsetree);
	const char *redacted = hide_api_keys(queryString, pstmt->stmt_location, pstmt->stmt_len, parsetree);

	if (OidIsValid(database) && may_hold(parsetree, database))
	{
		hold_database(database);
		if (IsA(parsetree, DropStmt) && castNode(DropStmt, parsetree)->behavior == DROP_CASCADE)
			lock_mirrored_tables();
	}
	if (redacted)
		run_redacted(next, pstmt, redacted, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	after_statement(parsetree);
}

/*
 * After all libraries have installed theirs: this one is called before them, and what they get
 * of a statement's text is without API keys.
 */
static void
on_shmem_startup(void)
{
	static bool is_installed = false;

	if (prev_shmem_startup)
		prev_shmem_startup();
	if (is_installed)			/* this is a restart after a crash */
		return;
	is_installed = true;
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = on_process_utility;
}

void
hooks_install(void)
{
	prev_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = on_shmem_startup;
	prev_post_parse_analyze = post_parse_analyze_hook;
	post_parse_analyze_hook = on_post_parse_analyze;
	prev_object_access = object_access_hook;
	object_access_hook = on_object_access;
	RegisterResourceReleaseCallback(at_resource_release, NULL);
}
