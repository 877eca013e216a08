/*-------------------------------------------------------------------------
 *
 * definition.c
 *		A mirror's definition: its trigger, as pg_trigger has it.
 *
 * A relation's own descriptor holds all of its triggers, with their arguments;
 * where one is wanted, or one that is not there yet or not any more, the catalog
 * is read.
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
#include "mirror/definition.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* tgargs has the arguments one after the other, each with a zero byte behind it. */
static void
read_arguments(Definition *definition, HeapTuple tuple, TupleDesc desc)
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

static Definition *
make_definition(HeapTuple tuple, TupleDesc desc)
{
	Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);
	Definition *definition = palloc0(sizeof(Definition));

	definition->relation = form->tgrelid;
	definition->function = form->tgfoid;
	definition->parent = form->tgparentid;
	definition->type = form->tgtype;
	definition->nargs = form->tgnargs;
	definition->ncolumns = form->tgattr.dim1;
	definition->columns = palloc(sizeof(AttrNumber) * (form->tgattr.dim1 + 1));
	memcpy(definition->columns, form->tgattr.values, sizeof(AttrNumber) * form->tgattr.dim1);
	read_arguments(definition, tuple, desc);
	return definition;
}

/* Is it the last version of a row that the current transaction has deleted? */
static bool
is_dropped_here(HeapTuple tuple)
{
	HeapTupleHeader header = tuple->t_data;

	return !(header->t_infomask & (HEAP_XMAX_INVALID | HEAP_XMAX_IS_MULTI)) &&
		!HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask) &&
		TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetRawXmax(header)) &&
		ItemPointerEquals(&tuple->t_self, &header->t_ctid);
}

static Definition *
read_trigger(Oid trigger, Snapshot snapshot, bool dropped)
{
	Relation	pg_trigger = table_open(TriggerRelationId, AccessShareLock);
	Definition *definition = NULL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(trigger));
	scan = systable_beginscan(pg_trigger, TriggerOidIndexId, true, snapshot, 1, &key);
	while (definition == NULL && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (!dropped || is_dropped_here(tuple))
			definition = make_definition(tuple, RelationGetDescr(pg_trigger));
	}
	systable_endscan(scan);
	table_close(pg_trigger, AccessShareLock);
	return definition;
}

Definition *
definition_read(Oid trigger, Snapshot snapshot)
{
	return read_trigger(trigger, snapshot, false);
}

Definition *
definition_read_dropped(Oid trigger)
{
	return read_trigger(trigger, SnapshotAny, true);
}

int
definition_count(Oid relation, Oid function, bool for_row)
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
