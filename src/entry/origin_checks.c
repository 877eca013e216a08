/*-------------------------------------------------------------------------
 *
 * origin_checks.c
 *		Statements that lose the origin or the records.
 *
 * DROP EXTENSION loses both.  The documents stay at the API, with markers of an origin that the
 * next extension does not have, so that it would create all of them again.  Those whose deletes are owed stay,
 * too, and after mixpeek.adopt(origin) no mirror may name them.
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
#include "state/document_table.h"
#include "state/origin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/*
 * Call a function for each row of a table of the extension.  The table is read without its indexes and without a
 * statement: while an extension is being dropped, neither may be there any more.
 */
static void
read_table(Oid relation, void (*function) (TupleTableSlot *slot, void *arg), void *arg)
{
	Relation	rel = table_open(relation, AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
		function(slot, arg);
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
}

/* Read the origin's id from its row; arg is a char **. */
static void
read_origin_id(TupleTableSlot *slot, void *arg)
{
	bool		isnull;

	*(char **) arg = DatumGetCString(DirectFunctionCall1(uuid_out, slot_getattr(slot, 1, &isnull)));
}

/* Say that the origin of the table is lost. */
static void
notify_of_loss(Oid relation)
{
	char	   *id = NULL;

	read_table(relation, read_origin_id, &id);
	if (id)
		ereport(NOTICE,
				(errmsg("the documents that were mirrored stay at the API, and their origin is forgotten"),
				 errdetail("Their origin is %s. Without it each row is mirrored as a new document.", id),
				 errhint("To take the documents over after the next CREATE EXTENSION, SELECT mixpeek.adopt(origin => '%s').", id)));
}

/* The documents of a collection whose deletes are owed. */
typedef struct OwedCollection
{
	char	   *name;
	int64		documents;
} OwedCollection;

/* Return the collection of this name, which is added to the list if it is not there. */
static OwedCollection *
find_collection(List **collections, char *name)
{
	OwedCollection *collection;
	ListCell   *lc;

	foreach(lc, *collections)
	{
		if (strcmp(((OwedCollection *) lfirst(lc))->name, name) == 0)
			return lfirst(lc);
	}
	collection = palloc0(sizeof(OwedCollection));
	collection->name = name;
	*collections = lappend(*collections, collection);
	return collection;
}

/* Return whether a column of a record is not null. */
static bool
has_value(TupleTableSlot *slot, DocumentColumn column)
{
	return !slot_attisnull(slot, column + 1);
}

/* Count the documents of a record that is an owed delete; arg is a List ** of OwedCollection. */
static void
count_owed_documents(TupleTableSlot *slot, void *arg)
{
	bool		isnull;
	char	   *name;
	bool		in_doubt;

	if (OidIsValid(DatumGetObjectId(slot_getattr(slot, DOCUMENT_RELATION + 1, &isnull))))
		return;
	name = TextDatumGetCString(slot_getattr(slot, DOCUMENT_COLLECTION + 1, &isnull));
	in_doubt = DatumGetBool(slot_getattr(slot, DOCUMENT_IN_DOUBT + 1, &isnull));
	find_collection(arg, name)->documents += (has_value(slot, DOCUMENT_DOCUMENT_ID) || in_doubt) +
		has_value(slot, DOCUMENT_REPLACED_ID);
}

/* Warn of the owed deletes that are lost with the table. */
static void
warn_of_lost_deletes(Oid relation)
{
	List	   *collections = NIL;
	ListCell   *lc;

	read_table(relation, count_owed_documents, &collections);
	foreach(lc, collections)
	{
		const OwedCollection *collection = lfirst(lc);

		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg_plural("%lld document in collection \"%s\" was to be deleted, and stays at the API",
							   "%lld documents in collection \"%s\" were to be deleted, and stay at the API",
							   collection->documents, (long long) collection->documents, collection->name),
				 errhint("To have them deleted, SELECT mixpeek.retry('-'), mixpeek.wait() before DROP EXTENSION, until mixpeek.documents has no record with relation 0.")));
	}
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
	else if (is_own_table(relation, "documents", EXTENSION_DOCUMENTS))
		warn_of_lost_deletes(relation);
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
