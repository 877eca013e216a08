/*-------------------------------------------------------------------------
 *
 * origin_checks.c
 *		Statements that lose the origin or the records.
 *
 * DROP EXTENSION loses both.  The documents stay at the API, with markers of an origin that the
 * next extension does not have, so that it would create all of them again.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/table.h"
#include "access/tableam.h"
#include "base/extension.h"
#include "base/user.h"
#include "catalog/pg_authid.h"
#include "entry/origin_checks.h"
#include "state/origin.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/*
 * Return the origin, palloc'd, or NULL.  The table is read without its index and without a statement:
 * while an extension is being dropped, neither may be there any more.
 */
static char *
read_origin_id(Oid relation)
{
	Relation	rel = table_open(relation, AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	char	   *id = NULL;
	bool		isnull;

	if (table_scan_getnextslot(scan, ForwardScanDirection, slot))
		id = DatumGetCString(DirectFunctionCall1(uuid_out, slot_getattr(slot, 1, &isnull)));
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	return id;
}

/* Say that the origin of the table is lost. */
static void
notify_of_loss(Oid relation)
{
	char	   *id = read_origin_id(relation);

	if (id)
		ereport(NOTICE,
				(errmsg("the documents that were mirrored stay at the API, and their origin is forgotten"),
				 errdetail("Their origin is %s. Without it each row is mirrored as a new document.", id),
				 errhint("To take the documents over after the next CREATE EXTENSION, SELECT mixpeek.adopt(origin => '%s').", id)));
}

/* Check whether a relation is this table of the extension.  The name is compared first: it costs less. */
static bool
is_own_table(Oid relation, const char *name, ExtensionObject object)
{
	char	   *found = get_rel_name(relation);

	return found && strcmp(found, name) == 0 && relation == extension_object(object);
}

void
origin_checks_drop(Oid relation)
{
	if (is_own_table(relation, "origin", EXTENSION_ORIGIN))
		notify_of_loss(relation);
}

void
origin_checks_truncate(Oid relation)
{
	UserState	guard;

	if (is_own_table(relation, "origin", EXTENSION_ORIGIN))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" of extension \"%s\" cannot be truncated", "origin", EXTENSION_NAME),
				 errdetail("Without its row, each row of a mirrored table is mirrored as a new document."),
				 errhint("The restore of a dump replaces the row.")));
	if (!is_own_table(relation, "documents", EXTENSION_DOCUMENTS) &&
		!is_own_table(relation, "forgotten", EXTENSION_FORGOTTEN))
		return;
	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	origin_note_truncated();
	user_restore(&guard);
}
