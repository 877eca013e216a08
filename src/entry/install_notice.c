/*-------------------------------------------------------------------------
 *
 * install_notice.c
 *		Says at CREATE EXTENSION what it means that the library is not preloaded.
 *
 * While an install script runs, PostgreSQL sets client_min_messages to at least
 * WARNING, so the script itself cannot raise a NOTICE that anyone would see.  Therefore
 * the notice is raised at commit, with the session's own setting: a script of
 * pg_dump, which sets client_min_messages to warning, shows nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xact.h"
#include "base/extension.h"
#include "base/shmem.h"
#include "catalog/objectaccess.h"
#include "commands/extension.h"
#include "entry/install_notice.h"
#include "miscadmin.h"

static object_access_hook_type prev_object_access = NULL;

/* Whether the current transaction has created the extension. */
static bool is_installing = false;

static void
notify_at_commit(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT && is_installing &&
		OidIsValid(get_extension_oid(EXTENSION_NAME, true)))
		ereport(NOTICE,
				(errmsg("nothing is mirrored in the background, because %s is not in shared_preload_libraries",
						EXTENSION_NAME),
				 errhint("Add it there and restart the server, or CALL mixpeek.sync() to mirror what has been committed.")));
	is_installing = false;
}

/*
 * Note that the extension is being created.  The library is loaded by the install script at
 * the latest, so the objects are noted that the script creates, and not the extension.
 */
static void
note_installation(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	static bool is_registered = false;

	if (prev_object_access)
		prev_object_access(access, class_id, object_id, sub_id, arg);
	if (is_installing || access != OAT_POST_CREATE || !creating_extension || shmem_available() ||
		get_extension_oid(EXTENSION_NAME, true) != CurrentExtensionObject)
		return;
	is_installing = true;
	if (!is_registered)
		RegisterXactCallback(notify_at_commit, NULL);
	is_registered = true;
}

void
install_notice_init(void)
{
	if (IsBinaryUpgrade)
		return;
	prev_object_access = object_access_hook;
	object_access_hook = note_installation;
}
