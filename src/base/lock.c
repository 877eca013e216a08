/*-------------------------------------------------------------------------
 *
 * lock.c
 *		Who works on a database, and who may start somebody who does.
 *
 * The worker holds two locks, and nobody works who has not both:
 *
 * - one on a part of an extension that does not exist.  No SQL function can take or release it, and
 *	 neither CREATE nor DROP EXTENSION waits for it; but the end of a transaction that fails does release it.
 * - an advisory one that no SQL function can take.  It outlives transactions, whatever their end.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/lock.h"
#include "catalog/pg_extension.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lock.h"

/* Parts of the extension that does not exist. */
#define PART_RECONCILER	1
#define PART_STARTER	2

/* Whatever the extension's oid: after DROP and CREATE EXTENSION the old worker may be there for a moment. */
static LOCKTAG
object_tag(uint16 part)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ExtensionRelationId, InvalidOid, part);
	return tag;
}

/* A process that ends without a transaction does not release the locks of its session by itself. */
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

/* Nobody else can have got it, for want of the advisory one. */
void
lock_keep_reconciler(void)
{
	LOCKTAG		tag = object_tag(PART_RECONCILER);

	if (!COMPAT_LOCK_HELD(&tag, ExclusiveLock) &&
		LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		ereport(FATAL,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("another mixpeek_docs worker works on the database")));
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
