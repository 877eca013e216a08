/*-------------------------------------------------------------------------
 *
 * compat.h
 *		All that differs between PostgreSQL 14 and 19.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_COMPAT_H
#define MIXPEEK_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 140000 || PG_VERSION_NUM >= 200000
#error "mixpeek_docs needs PostgreSQL 14 to 19"
#endif

/* 16: variable-length values have a header of their own. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
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
#define COMPAT_IS_VIRTUAL_COLUMN(att) ((att)->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
#else
#define COMPAT_HAS_VIRTUAL_COLUMNS(desc) false
#define COMPAT_IS_VIRTUAL_COLUMN(att) false
#endif

/* 15: what initdb makes first is nobody's to change, as in 14, and the limit has a name for that. */
#if PG_VERSION_NUM >= 150000
#define COMPAT_FIRST_UNPINNED_OID	FirstUnpinnedObjectId
#else
#define COMPAT_FIRST_UNPINNED_OID	FirstBootstrapObjectId
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

/* 16: one function for the owner of every kind of object, and one for the rights on it. */
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
 * An insert into a table that has a TOAST table asserts that there is a snapshot, needed or not.  That is
 * new in 18, and came to earlier branches in minor versions (15.18, 16.14, 17.10): the headers do not tell.
 */
#ifdef USE_ASSERT_CHECKING
#define COMPAT_INSERT_WANTS_SNAPSHOT true
#else
#define COMPAT_INSERT_WANTS_SNAPSHOT false
#endif

/* 18: a scan can be counted.  19: a scan has flags. */
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

/* 19: a row's change has options.  These wait for others, and check against no second snapshot. */
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

/* 19: a signal's handler is told who has sent it. */
#if PG_VERSION_NUM >= 190000
#define COMPAT_DIE()	die(postgres_signal_arg, pg_siginfo)
#else
#define COMPAT_DIE()	die(postgres_signal_arg)
#endif

/* 19: hooks may not change what a query was normalized to. */
#if PG_VERSION_NUM >= 190000
#define CompatJumbleState	const JumbleState
#else
#define CompatJumbleState	JumbleState
#endif

/* 19: a backslash in a plain string constant always stands for itself. */
#if PG_VERSION_NUM >= 190000
#define COMPAT_BACKSLASH_ESCAPES()	false
#else
#define COMPAT_BACKSLASH_ESCAPES()	(!standard_conforming_strings)
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

/* 15: which timeline the server writes has a function; before, every process has found it out. */
#if PG_VERSION_NUM >= 150000
#define COMPAT_TIMELINE()	GetWALInsertionTimeLine()
#else
#define COMPAT_TIMELINE()	(RecoveryInProgress() ? 0 : ThisTimeLineID)
#endif

/* What pg_stat_activity shows while the extension waits for the network. */
#define COMPAT_WAIT_EVENT	PG_WAIT_EXTENSION

/* 18: wait event sets have a header of their own. */
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif

/* glibc: large pieces of memory go back to the system at once, whatever was freed before. */
#ifdef __GLIBC__
#include <malloc.h>
#define COMPAT_GIVE_MEMORY_BACK()	((void) mallopt(M_MMAP_THRESHOLD, 256 * 1024))
#else
#define COMPAT_GIVE_MEMORY_BACK()	((void) 0)
#endif

/* 18: pg_stat_activity's entry is made in three steps, of which the last one fills in the user. */
#if PG_VERSION_NUM >= 180000
#define COMPAT_REPORT_USER() pgstat_bestart_final()
#else
#define COMPAT_REPORT_USER() pgstat_bestart()
#endif

/* 15: a message can wait for others before its reader is woken. */
#if PG_VERSION_NUM >= 150000
#define COMPAT_SHM_MQ_SEND(queue, len, data, nowait) shm_mq_send(queue, len, data, nowait, true)
#else
#define COMPAT_SHM_MQ_SEND(queue, len, data, nowait) shm_mq_send(queue, len, data, nowait)
#endif

/* 17: sets belong to a resource owner; here they live as long as the session. */
#if PG_VERSION_NUM >= 170000
#define COMPAT_CREATE_WAIT_EVENT_SET(n) CreateWaitEventSet(NULL, n)
#else
#define COMPAT_CREATE_WAIT_EVENT_SET(n) CreateWaitEventSet(TopMemoryContext, n)
#endif

#endif							/* MIXPEEK_COMPAT_H */
