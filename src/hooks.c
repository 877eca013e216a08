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
 * - An API key is part of the text of CREATE USER MAPPING; pg_stat_activity is
 *   not to show it.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "guard.h"
#include "hooks.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "outbox.h"
#include "query.h"
#include "shmem.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

static ProcessUtility_hook_type prev_process_utility = NULL;
static object_access_hook_type prev_object_access = NULL;

/* What the transaction's commit has to tell the launcher. */
static bool probe_this_database = false;
static bool probe_all_databases = false;

/* And the worker. */
static bool wake_worker = false;

/* In which the transaction keeps workers from running. */
static List *held_databases = NIL;

static void
at_xact_event(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (event == XACT_EVENT_COMMIT && probe_this_database)
	{
		shmem_request_probe(MyDatabaseId);
		shmem_wake_worker(MyDatabaseId);
	}
	if (event == XACT_EVENT_COMMIT && probe_all_databases)
		shmem_request_probe(InvalidOid);
	probe_this_database = probe_all_databases = false;
	if (event != XACT_EVENT_COMMIT)
		wake_worker = false;
}

static void
release_databases(void)
{
	ListCell   *lc;

	foreach(lc, held_databases)
		shmem_release_database(lfirst_oid(lc));
	list_free(held_databases);
	held_databases = NIL;
}

/*
 * The worker must not look before it can see: invalidation messages are sent after
 * the commit callbacks, and before locks are released.
 */
static void
at_resource_release(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level)
		return;
	if (is_commit && wake_worker)
		shmem_wake_worker(MyDatabaseId);
	wake_worker = false;
	release_databases();
}

static void
on_object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class_id, object_id, sub_id, arg);
	if (class_id == ExtensionRelationId && (access == OAT_POST_CREATE || access == OAT_DROP))
		probe_this_database = true;
}

static bool
drops_extension(Node *parsetree)
{
	ListCell   *lc;

	if (!IsA(parsetree, DropStmt) || castNode(DropStmt, parsetree)->removeType != OBJECT_EXTENSION ||
		!OidIsValid(get_extension_oid("mixpeek_docs", true)))
		return false;
	foreach(lc, castNode(DropStmt, parsetree)->objects)
	{
		if (strcmp(strVal(lfirst(lc)), "mixpeek_docs") == 0)
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
		return COMPAT_OWNS_EXTENSION(get_extension_oid("mixpeek_docs", false), GetUserId());
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

static bool
names_api_key(List *options)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		if (strcmp(lfirst_node(DefElem, lc)->defname, "api_key") == 0)
			return true;
	}
	return false;
}

static void
hide_api_key(Node *parsetree)
{
	if (IsA(parsetree, CreateUserMappingStmt) &&
		names_api_key(castNode(CreateUserMappingStmt, parsetree)->options))
		pgstat_report_activity(STATE_RUNNING, "CREATE USER MAPPING ... OPTIONS (api_key ...)");
	else if (IsA(parsetree, AlterUserMappingStmt) &&
			 names_api_key(castNode(AlterUserMappingStmt, parsetree)->options))
		pgstat_report_activity(STATE_RUNNING, "ALTER USER MAPPING ... OPTIONS (api_key ...)");
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
	wake_worker |= may_change_server(parsetree);

	if (IsA(parsetree, TransactionStmt) &&
		castNode(TransactionStmt, parsetree)->kind == TRANS_STMT_COMMIT_PREPARED)
	{
		shmem_request_probe(MyDatabaseId);	/* it may have made the extension */
		shmem_wake_worker(MyDatabaseId);
		outbox_notify_prepared();
	}
	else if (IsA(parsetree, CreatedbStmt) || IsA(parsetree, DropdbStmt) ||
			 IsA(parsetree, AlterDatabaseStmt))
		probe_all_databases = true;
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
		"SELECT DISTINCT tgrelid FROM pg_catalog.pg_trigger"
		" WHERE tgfoid = pg_catalog.to_regprocedure('mixpeek.mirror_row()') ORDER BY tgrelid", 0, {0}
	};
	List	   *tables;
	GuardState	guard;
	ListCell   *lc;

	guard_enter(&guard, BOOTSTRAP_SUPERUSERID);
	query_run(&query, NULL, NULL);
	tables = query_oids();
	query_end();
	guard_leave(&guard);
	foreach(lc, tables)
		LockRelationOid(lfirst_oid(lc), AccessExclusiveLock);
}

static void
on_process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
				   ProcessUtilityContext context, ParamListInfo params,
				   QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	ProcessUtility_hook_type next = prev_process_utility ? prev_process_utility : standard_ProcessUtility;
	Node	   *parsetree = pstmt->utilityStmt;
	Oid			database = exclusive_database(parsetree);

	hide_api_key(parsetree);
	if (OidIsValid(database) && may_hold(parsetree, database))
	{
		hold_database(database);
		if (IsA(parsetree, DropStmt) && castNode(DropStmt, parsetree)->behavior == DROP_CASCADE)
			lock_mirrored_tables();
	}
	next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	after_statement(parsetree);
}

void
hooks_install(void)
{
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = on_process_utility;
	prev_object_access = object_access_hook;
	object_access_hook = on_object_access;
	RegisterXactCallback(at_xact_event, NULL);
	RegisterResourceReleaseCallback(at_resource_release, NULL);
}
