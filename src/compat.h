/*-------------------------------------------------------------------------
 *
 * compat.h
 *		All that differs between PostgreSQL 14 and 18.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_COMPAT_H
#define MIXPEEK_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 140000 || PG_VERSION_NUM >= 190000
#error "mixpeek_docs needs PostgreSQL 14 to 18"
#endif

/* 17: a backend's index into ProcGlobal->allProcs is a global of its own. */
#if PG_VERSION_NUM >= 170000
#define COMPAT_PROC_NUMBER	MyProcNumber
#else
#define COMPAT_PROC_NUMBER	(MyProc->pgprocno)
#endif

/* 18: generated columns may have no stored value that could be compared. */
#if PG_VERSION_NUM >= 180000
#define COMPAT_HAS_VIRTUAL_COLUMNS(desc) \
	((desc)->constr != NULL && (desc)->constr->has_generated_virtual)
#else
#define COMPAT_HAS_VIRTUAL_COLUMNS(desc) false
#endif

/* 17: a stronger lock can be asked for, too. */
#if PG_VERSION_NUM >= 170000
#define COMPAT_LOCK_HELD(tag, mode)	LockHeldByMe(tag, mode, false)
#else
#define COMPAT_LOCK_HELD(tag, mode)	LockHeldByMe(tag, mode)
#endif

/* 18: noreturn stands before the declaration. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn			__attribute__((noreturn))
#endif

/* 15: random numbers from a generator of the server's own; 0 <= x < 1. */
#if PG_VERSION_NUM >= 150000
#include "common/pg_prng.h"
#define COMPAT_RANDOM()		pg_prng_double(&pg_global_prng_state)
#else
#define COMPAT_RANDOM()		((double) random() / ((double) MAX_RANDOM_VALUE + 1))
#endif

/* 15: the number of backends is known when a library asks for shared memory. */
#if PG_VERSION_NUM >= 150000
#define COMPAT_MAX_BACKENDS	MaxBackends
#else
#include "postmaster/autovacuum.h"
#include "replication/walsender.h"
#define COMPAT_MAX_BACKENDS \
	(MaxConnections + autovacuum_max_workers + 1 + max_worker_processes + max_wal_senders)
#endif

/* 16: one function for the owner of every kind of object. */
#if PG_VERSION_NUM >= 160000
#define COMPAT_OWNS_TABLE(relid, roleid)	object_ownercheck(RelationRelationId, relid, roleid)
#define COMPAT_OWNS_DATABASE(oid, roleid)	object_ownercheck(DatabaseRelationId, oid, roleid)
#define COMPAT_OWNS_EXTENSION(oid, roleid)	object_ownercheck(ExtensionRelationId, oid, roleid)
#else
#define COMPAT_OWNS_TABLE(relid, roleid)	pg_class_ownercheck(relid, roleid)
#define COMPAT_OWNS_DATABASE(oid, roleid)	pg_database_ownercheck(oid, roleid)
#define COMPAT_OWNS_EXTENSION(oid, roleid)	pg_extension_ownercheck(oid, roleid)
#endif

/* 18: an insert into a table that has a TOAST table asserts that there is a snapshot, needed or not. */
#if PG_VERSION_NUM >= 180000 && defined(USE_ASSERT_CHECKING)
#define COMPAT_INSERT_WANTS_SNAPSHOT true
#else
#define COMPAT_INSERT_WANTS_SNAPSHOT false
#endif

/* 18: a scan can be counted. */
#if PG_VERSION_NUM >= 180000
#define COMPAT_INDEX_BEGINSCAN(rel, index, snapshot, nkeys) \
	index_beginscan(rel, index, snapshot, NULL, nkeys, 0)
#else
#define COMPAT_INDEX_BEGINSCAN(rel, index, snapshot, nkeys) \
	index_beginscan(rel, index, snapshot, nkeys, 0)
#endif

/* 16: after a HOT update indexes that sum up blocks (BRIN) are told all the same. */
#if PG_VERSION_NUM >= 160000
#define CompatUpdateIndexes	TU_UpdateIndexes
#define COMPAT_NO_INDEXES	TU_None
#define COMPAT_ALL_INDEXES	TU_All
#define COMPAT_PASSES_INDEX(which, info) ((which) == TU_Summarizing && !(info)->ii_Summarizing)
#else
#define CompatUpdateIndexes	bool
#define COMPAT_NO_INDEXES	false
#define COMPAT_ALL_INDEXES	true
#define COMPAT_PASSES_INDEX(which, info) false
#endif

/* What pg_stat_activity shows while the extension waits for the network. */
#define COMPAT_WAIT_EVENT	PG_WAIT_EXTENSION

/* 18: wait event sets have a header of their own. */
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif

/* 17: sets belong to a resource owner; here they live as long as the session. */
#if PG_VERSION_NUM >= 170000
#define COMPAT_CREATE_WAIT_EVENT_SET(n) CreateWaitEventSet(NULL, n)
#else
#define COMPAT_CREATE_WAIT_EVENT_SET(n) CreateWaitEventSet(TopMemoryContext, n)
#endif

/* 16: one function checks the privileges on objects of every class. */
#if PG_VERSION_NUM >= 160000
#define COMPAT_SERVER_ACLCHECK(server, role) \
	object_aclcheck(ForeignServerRelationId, server, role, ACL_USAGE)
#else
#define COMPAT_SERVER_ACLCHECK(server, role) \
	pg_foreign_server_aclcheck(server, role, ACL_USAGE)
#endif

#endif							/* MIXPEEK_COMPAT_H */
