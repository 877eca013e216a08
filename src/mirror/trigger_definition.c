/*-------------------------------------------------------------------------
 *
 * trigger_definition.c
 *		Triggers as pg_trigger has them.
 *
 * A relation's own descriptor (rel->trigdesc) holds all of its triggers with their
 * arguments.  The catalog is read where one trigger is needed, or one that the
 * descriptor does not show: just created, or dropped by the current transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_trigger.h"
#include "mirror/trigger_definition.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Copy the arguments from tgargs, where each one is followed by a zero byte. */
static void
read_arguments(TriggerDefinition *definition, HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Datum		datum = heap_getattr(tuple, Anum_pg_trigger_tgargs, desc, &isnull);
	const char *p;

	if (isnull || definition->nargs == 0)
	{
		definition->nargs = 0;
		return;
	}
	p = VARDATA_ANY(DatumGetByteaPP(datum));
	definition->args = palloc(sizeof(char *) * definition->nargs);
	for (int i = 0; i < definition->nargs; i++)
	{
		definition->args[i] = pstrdup(p);
		p += strlen(p) + 1;
	}
}

/* Return the text of the condition's node tree; NULL if the trigger has none. */
static char *
read_when(HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Datum		datum = heap_getattr(tuple, Anum_pg_trigger_tgqual, desc, &isnull);

	return isnull ? NULL : TextDatumGetCString(datum);
}

static TriggerDefinition *
make_definition(HeapTuple tuple, TupleDesc desc)
{
	Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);
	TriggerDefinition *definition = palloc0(sizeof(TriggerDefinition));

	definition->relation = form->tgrelid;
	definition->function = form->tgfoid;
	definition->parent = form->tgparentid;
	definition->type = form->tgtype;
	definition->nargs = form->tgnargs;
	definition->ncolumns = form->tgattr.dim1;
	definition->columns = palloc(sizeof(AttrNumber) * (form->tgattr.dim1 + 1));
	memcpy(definition->columns, form->tgattr.values, sizeof(AttrNumber) * form->tgattr.dim1);
	read_arguments(definition, tuple, desc);
	definition->when = read_when(tuple, desc);
	return definition;
}

/* Check whether this is the last version of a tuple that the current transaction has deleted. */
static bool
is_deleted_by_us(HeapTuple tuple)
{
	HeapTupleHeader header = tuple->t_data;

	return !(header->t_infomask & (HEAP_XMAX_INVALID | HEAP_XMAX_IS_MULTI)) &&
		!HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask) &&
		TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetRawXmax(header)) &&
		ItemPointerEquals(&tuple->t_self, &header->t_ctid);
}

/* Read a trigger; with dropped, only a version that the current transaction has deleted. */
static TriggerDefinition *
read_trigger(Oid trigger, Snapshot snapshot, bool dropped)
{
	Relation	pg_trigger = table_open(TriggerRelationId, AccessShareLock);
	TriggerDefinition *definition = NULL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(trigger));
	scan = systable_beginscan(pg_trigger, TriggerOidIndexId, true, snapshot, 1, &key);
	while (definition == NULL && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (!dropped || is_deleted_by_us(tuple))
			definition = make_definition(tuple, RelationGetDescr(pg_trigger));
	}
	systable_endscan(scan);
	table_close(pg_trigger, AccessShareLock);
	return definition;
}

TriggerDefinition *
trigger_definition_read(Oid trigger, Snapshot snapshot)
{
	return read_trigger(trigger, snapshot, false);
}

TriggerDefinition *
trigger_definition_read_dropped(Oid trigger)
{
	return read_trigger(trigger, SnapshotAny, true);
}

int
trigger_definition_count(Oid relation, Oid function, bool for_row)
{
	Relation	pg_trigger = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	int			n = 0;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relation));
	scan = systable_beginscan(pg_trigger, TriggerRelidNameIndexId, true, SnapshotSelf, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);

		n += form->tgfoid == function && (bool) TRIGGER_FOR_ROW(form->tgtype) == for_row &&
			!OidIsValid(form->tgparentid);
	}
	systable_endscan(scan);
	table_close(pg_trigger, AccessShareLock);
	return n;
}

Oid
trigger_definition_topmost_relation(Oid trigger)
{
	Relation	pg_trigger = table_open(TriggerRelationId, AccessShareLock);
	Oid			relation = InvalidOid;

	while (OidIsValid(trigger))
	{
		ScanKeyData key;
		SysScanDesc scan;
		HeapTuple	tuple;

		ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(trigger));
		scan = systable_beginscan(pg_trigger, TriggerOidIndexId, true, NULL, 1, &key);
		trigger = InvalidOid;
		tuple = systable_getnext(scan);
		if (HeapTupleIsValid(tuple))
		{
			relation = ((Form_pg_trigger) GETSTRUCT(tuple))->tgrelid;
			trigger = ((Form_pg_trigger) GETSTRUCT(tuple))->tgparentid;
		}
		systable_endscan(scan);
	}
	table_close(pg_trigger, AccessShareLock);
	return relation;
}
