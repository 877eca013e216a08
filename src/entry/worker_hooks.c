/*-------------------------------------------------------------------------
 *
 * worker_hooks.c
 *		What the launcher and the workers must learn of sessions' statements.
 *
 * - DROP, ALTER and CREATE DATABASE need the database for themselves: its
 *   worker ends, and none is started while they run.
 * - CREATE and DROP EXTENSION and CREATE DATABASE may require that a worker is started or
 *   ended, once they are committed.
 * - A change to a server, a user mapping or the right to use a server may be what the
 *   worker waits for.
 * - COMMIT PREPARED makes entries of the outbox visible without a commit callback in
 *   any session.
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
#include "entry/worker_hooks.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

static ProcessUtility_hook_type prev_process_utility = NULL;
static object_access_hook_type prev_object_access = NULL;

/* Databases in which no worker may run until the transaction's end. */
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
release_at_transaction_end(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	if (phase == RESOURCE_RELEASE_AFTER_LOCKS && is_top_level)
		release_databases();
}

static void
note_extension_change(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class_id, object_id, sub_id, arg);
	if (class_id == ExtensionRelationId && (access == OAT_POST_CREATE || access == OAT_DROP))
		wakeup_at_commit(WAKEUP_PROBE);
}

/*
 * Statements that need a database for themselves
 */

/* Check whether a statement drops this extension. */
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

/* Return the database that a statement must have for itself; InvalidOid if there is none. */
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

/* Check whether the current user may use the database as a template. */
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

/*
 * Check whether the current user may run the statement, which checks that itself, but
 * later.  Users without the right must not be able to end a database's worker.
 */
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

/* End the database's worker and let none start until the transaction's end. */
static void
hold_database(Oid database)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	held_databases = lappend_oid(held_databases, database);
	MemoryContextSwitchTo(old);
	shmem_hold_database(database);
}

/*
 * Lock all mirrored tables, before DROP EXTENSION ... CASCADE.  It drops the extension's
 * tables first and then the triggers of mirrored tables, while a writer locks a mirrored table
 * first and needs the outbox at its commit.  Locking in the writers' order avoids a deadlock.
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

/*
 * After a statement
 */

/* Check whether a statement may have changed which servers can be used. */
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

/* Note what a statement that succeeded means for launcher and worker. */
static void
note_statement(Node *parsetree)
{
	if (may_change_server(parsetree))
		wakeup_at_commit(WAKEUP_WORKER);
	if (IsA(parsetree, TransactionStmt) &&
		castNode(TransactionStmt, parsetree)->kind == TRANS_STMT_COMMIT_PREPARED)
	{
		/* it may have created the extension */
		shmem_request_probe(MyDatabaseId);
		shmem_wake_worker(MyDatabaseId);
		shmem_send_prepared(MyDatabaseId);
	}
	else if (IsA(parsetree, CreatedbStmt) || IsA(parsetree, DropdbStmt) ||
			 IsA(parsetree, AlterDatabaseStmt))
		wakeup_at_commit(WAKEUP_PROBE_ALL);
}

static void
run_utility_statement(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
					  ProcessUtilityContext context, ParamListInfo params,
					  QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	ProcessUtility_hook_type next = prev_process_utility ? prev_process_utility : standard_ProcessUtility;
	Node	   *parsetree = pstmt->utilityStmt;
	Oid			database = exclusive_database(parsetree);

	if (OidIsValid(database) && may_hold(parsetree, database))
	{
		hold_database(database);
		if (IsA(parsetree, DropStmt) && castNode(DropStmt, parsetree)->behavior == DROP_CASCADE)
			lock_mirrored_tables();
	}
	next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	note_statement(parsetree);
}

void
worker_hooks_install(void)
{
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = run_utility_statement;
	prev_object_access = object_access_hook;
	object_access_hook = note_extension_change;
	RegisterResourceReleaseCallback(release_at_transaction_end, NULL);
}
