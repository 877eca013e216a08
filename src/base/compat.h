/*-------------------------------------------------------------------------
 *
 * compat.h
 *		Differences between PostgreSQL 14 to 19.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_COMPAT_H
#define MIXPEEK_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 140000 || PG_VERSION_NUM >= 200000
#error "mixpeek_docs needs PostgreSQL 14 to 19"
#endif

/* 16: variable-length types have a header file of their own. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 17: a backend's index into ProcGlobal->allProcs is a global variable. */
#if PG_VERSION_NUM >= 170000
#define COMPAT_PROC_NUMBER	MyProcNumber
#else
#define COMPAT_PROC_NUMBER	(MyProc->pgprocno)
#endif

/* 18: generated columns may be virtual, without a stored value that can be compared. */
#if PG_VERSION_NUM >= 180000
#define COMPAT_HAS_VIRTUAL_COLUMNS(desc) \
	((desc)->constr != NULL && (desc)->constr->has_generated_virtual)
#define COMPAT_IS_VIRTUAL_COLUMN(att) ((att)->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
#else
#define COMPAT_HAS_VIRTUAL_COLUMNS(desc) false
#define COMPAT_IS_VIRTUAL_COLUMN(att) false
#endif

/* 15: the limit of the oids of pinned objects has a new name. */
#if PG_VERSION_NUM >= 150000
#define COMPAT_FIRST_UNPINNED_OID	FirstUnpinnedObjectId
#else
#define COMPAT_FIRST_UNPINNED_OID	FirstBootstrapObjectId
#endif

/* 17: stronger locks can be included. */
#if PG_VERSION_NUM >= 170000
#define COMPAT_LOCK_HELD(tag, mode)	LockHeldByMe(tag, mode, false)
#else
#define COMPAT_LOCK_HELD(tag, mode)	LockHeldByMe(tag, mode)
#endif

/* 18: noreturn stands before the declaration. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn			__attribute__((noreturn))
#endif

/* 15: the server has its own random number generator.  0 <= result < 1. */
#if PG_VERSION_NUM >= 150000
#include "common/pg_prng.h"
#define COMPAT_RANDOM()		pg_prng_double(&pg_global_prng_state)
#else
#define COMPAT_RANDOM()		((double) random() / ((double) MAX_RANDOM_VALUE + 1))
#endif

/* 15: MaxBackends is known when a library requests shared memory. */
#if PG_VERSION_NUM >= 150000
#define COMPAT_MAX_BACKENDS	MaxBackends
#else
#include "postmaster/autovacuum.h"
#include "replication/walsender.h"
#define COMPAT_MAX_BACKENDS \
	(MaxConnections + autovacuum_max_workers + 1 + max_worker_processes + max_wal_senders)
#endif

/* 16: one function checks the owner of any object, and one the privileges on it. */
#if PG_VERSION_NUM >= 160000
#define COMPAT_OWNS_TABLE(relid, roleid)	object_ownercheck(RelationRelationId, relid, roleid)
#define COMPAT_OWNS_DATABASE(oid, roleid)	object_ownercheck(DatabaseRelationId, oid, roleid)
#define COMPAT_OWNS_EXTENSION(oid, roleid)	object_ownercheck(ExtensionRelationId, oid, roleid)
#define COMPAT_DATABASE_ACLCHECK(oid, roleid, mode)	object_aclcheck(DatabaseRelationId, oid, roleid, mode)
#define COMPAT_SCHEMA_ACLCHECK(oid, roleid, mode)	object_aclcheck(NamespaceRelationId, oid, roleid, mode)
#define COMPAT_OWNS_SERVER(oid, roleid)		object_ownercheck(ForeignServerRelationId, oid, roleid)
#define COMPAT_SERVER_ACLCHECK(oid, roleid, mode)	object_aclcheck(ForeignServerRelationId, oid, roleid, mode)
#else
#define COMPAT_OWNS_TABLE(relid, roleid)	pg_class_ownercheck(relid, roleid)
#define COMPAT_OWNS_DATABASE(oid, roleid)	pg_database_ownercheck(oid, roleid)
#define COMPAT_OWNS_EXTENSION(oid, roleid)	pg_extension_ownercheck(oid, roleid)
#define COMPAT_DATABASE_ACLCHECK(oid, roleid, mode)	pg_database_aclcheck(oid, roleid, mode)
#define COMPAT_SCHEMA_ACLCHECK(oid, roleid, mode)	pg_namespace_aclcheck(oid, roleid, mode)
#define COMPAT_OWNS_SERVER(oid, roleid)		pg_foreign_server_ownercheck(oid, roleid)
#define COMPAT_SERVER_ACLCHECK(oid, roleid, mode)	pg_foreign_server_aclcheck(oid, roleid, mode)
#endif

/*
 * An insert into a table with a TOAST table asserts that there is a snapshot, even if it is not needed.  This is
 * new in 18 and in minor versions of earlier branches (15.18, 16.14, 17.10), so the headers do not show it.
 */
#ifdef USE_ASSERT_CHECKING
#define COMPAT_INSERT_WANTS_SNAPSHOT true
#else
#define COMPAT_INSERT_WANTS_SNAPSHOT false
#endif

/* 18: an index scan can be instrumented.  19: scans have flags. */
#if PG_VERSION_NUM >= 190000
#define COMPAT_INDEX_BEGINSCAN(rel, index, snapshot, nkeys) \
	index_beginscan(rel, index, snapshot, NULL, nkeys, 0, SO_NONE)
#define COMPAT_BEGINSCAN_TIDRANGE(rel, snapshot, first, last) \
	table_beginscan_tidrange(rel, snapshot, first, last, SO_NONE)
#elif PG_VERSION_NUM >= 180000
#define COMPAT_INDEX_BEGINSCAN(rel, index, snapshot, nkeys) \
	index_beginscan(rel, index, snapshot, NULL, nkeys, 0)
#else
#define COMPAT_INDEX_BEGINSCAN(rel, index, snapshot, nkeys) \
	index_beginscan(rel, index, snapshot, nkeys, 0)
#endif
#if PG_VERSION_NUM < 190000
#define COMPAT_BEGINSCAN_TIDRANGE(rel, snapshot, first, last) \
	table_beginscan_tidrange(rel, snapshot, first, last)
#endif

/* 19: changes of a tuple have options.  These wait for concurrent changes, and have no crosscheck snapshot. */
#if PG_VERSION_NUM >= 190000
#define COMPAT_TUPLE_DELETE(rel, tid, snapshot, failure) \
	table_tuple_delete(rel, tid, GetCurrentCommandId(true), 0, snapshot, InvalidSnapshot, true, failure)
#define COMPAT_TUPLE_UPDATE(rel, tid, slot, snapshot, failure, lock_mode, update_indexes) \
	table_tuple_update(rel, tid, slot, GetCurrentCommandId(true), 0, snapshot, InvalidSnapshot, true, \
					   failure, lock_mode, update_indexes)
#else
#define COMPAT_TUPLE_DELETE(rel, tid, snapshot, failure) \
	table_tuple_delete(rel, tid, GetCurrentCommandId(true), snapshot, InvalidSnapshot, true, failure, false)
#define COMPAT_TUPLE_UPDATE(rel, tid, slot, snapshot, failure, lock_mode, update_indexes) \
	table_tuple_update(rel, tid, slot, GetCurrentCommandId(true), snapshot, InvalidSnapshot, true, \
					   failure, lock_mode, update_indexes)
#endif

/* 19: a signal handler has an argument about the sender. */
#if PG_VERSION_NUM >= 190000
#define COMPAT_DIE()	die(postgres_signal_arg, pg_siginfo)
#else
#define COMPAT_DIE()	die(postgres_signal_arg)
#endif

/* 19: the hook after parse analysis must not change the jumble state. */
#if PG_VERSION_NUM >= 190000
#define CompatJumbleState	const JumbleState
#else
#define CompatJumbleState	JumbleState
#endif

/* 19: standard_conforming_strings cannot be turned off. */
#if PG_VERSION_NUM >= 190000
#define COMPAT_BACKSLASH_ESCAPES()	false
#else
#define COMPAT_BACKSLASH_ESCAPES()	(!standard_conforming_strings)
#endif

/* 16: a HOT update still needs entries in summarizing indexes (BRIN). */
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

/* 15: a function returns the timeline that the server writes; before, there is a global variable. */
#if PG_VERSION_NUM >= 150000
#define COMPAT_TIMELINE()	GetWALInsertionTimeLine()
#else
#define COMPAT_TIMELINE()	(RecoveryInProgress() ? 0 : ThisTimeLineID)
#endif

/* The wait event that pg_stat_activity shows while the extension waits. */
#define COMPAT_WAIT_EVENT	PG_WAIT_EXTENSION

/* 18: wait event sets have a header file of their own. */
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif

/* glibc: return large allocations to the system when they are freed, with a fixed threshold. */
#ifdef __GLIBC__
#include <malloc.h>
#define COMPAT_GIVE_MEMORY_BACK()	((void) mallopt(M_MMAP_THRESHOLD, 256 * 1024))
#else
#define COMPAT_GIVE_MEMORY_BACK()	((void) 0)
#endif

/* 18: an entry of pg_stat_activity is made in three steps; the last one sets the user. */
#if PG_VERSION_NUM >= 180000
#define COMPAT_REPORT_USER() pgstat_bestart_final()
#else
#define COMPAT_REPORT_USER() pgstat_bestart()
#endif

/* 15: a flag decides whether the reader is woken at once. */
#if PG_VERSION_NUM >= 150000
#define COMPAT_SHM_MQ_SEND(queue, len, data, nowait) shm_mq_send(queue, len, data, nowait, true)
#else
#define COMPAT_SHM_MQ_SEND(queue, len, data, nowait) shm_mq_send(queue, len, data, nowait)
#endif

/* 17: a wait event set belongs to a resource owner.  Without one it lives as long as the session. */
#if PG_VERSION_NUM >= 170000
#define COMPAT_CREATE_WAIT_EVENT_SET(n) CreateWaitEventSet(NULL, n)
#else
#define COMPAT_CREATE_WAIT_EVENT_SET(n) CreateWaitEventSet(TopMemoryContext, n)
#endif

#endif							/* MIXPEEK_COMPAT_H */
