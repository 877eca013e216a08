/*-------------------------------------------------------------------------
 *
 * lock.c
 *		Locks that make the worker, and the starter of one, unique in a database.
 *
 * A worker holds two locks, and works only while it has both:
 *
 * - One on a part of an extension that does not exist.  No SQL function can take or release it, and
 *	 neither CREATE nor DROP EXTENSION waits for it, but the abort of a transaction releases it.
 * - An advisory lock that no SQL function can take.  It survives commits and aborts.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/lock.h"
#include "catalog/pg_extension.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lock.h"

/* Parts of the nonexistent extension. */
#define PART_RECONCILER	1
#define PART_STARTER	2

/*
 * Return the tag of a lock.  It does not depend on the extension's oid, because the old worker may
 * still run after DROP and CREATE EXTENSION.
 */
static LOCKTAG
object_tag(uint16 part)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ExtensionRelationId, InvalidOid, part);
	return tag;
}

/* Release the lock when the process ends: outside of a transaction, session locks are not released automatically. */
static void
release_at_exit(int code, Datum arg)
{
	LOCKTAG		tag = object_tag(PART_RECONCILER);

	if (COMPAT_LOCK_HELD(&tag, ExclusiveLock))
		LockRelease(&tag, ExclusiveLock, true);
}

void
lock_reconciler(void)
{
	LOCKTAG		object = object_tag(PART_RECONCILER);
	LOCKTAG		advisory;

	SET_LOCKTAG_ADVISORY(advisory, MyDatabaseId, 0x6d697870, 0x65656b, 3);
	before_shmem_exit(release_at_exit, (Datum) 0);
	(void) LockAcquire(&advisory, ExclusiveLock, true, false);
	(void) LockAcquire(&object, ExclusiveLock, true, false);
}

/* No other process can have taken the lock meanwhile, because it does not have the advisory one. */
void
lock_keep_reconciler(void)
{
	LOCKTAG		tag = object_tag(PART_RECONCILER);

	if (!COMPAT_LOCK_HELD(&tag, ExclusiveLock) &&
		LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		ereport(FATAL,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("another mixpeek_docs worker is running in the database")));
}

bool
lock_starter(bool wait)
{
	LOCKTAG		tag = object_tag(PART_STARTER);

	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

void
unlock_starter(void)
{
	LOCKTAG		tag = object_tag(PART_STARTER);

	LockRelease(&tag, ExclusiveLock, false);
}
