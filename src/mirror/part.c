/*-------------------------------------------------------------------------
 *
 * part.c
 *		Tables that hold a mirrored table's rows: the table itself, or its partitions.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/tableam.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "executor/executor.h"
#include "mirror/native.h"
#include "mirror/part.h"
#include "miscadmin.h"
#include "partitioning/partdesc.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/*
 * Return the number that a column of the mirrored table has in a part.  A partition has the
 * same columns by name, but not by number.
 */
static AttrNumber
find_part_column(const Mirror *mirror, Part *part, AttrNumber attnum, const char *name, Oid type)
{
	Form_pg_attribute att;

	if (RelationGetRelid(part->rel) != mirror->relation)
		attnum = get_attnum(RelationGetRelid(part->rel), name);
	att = native_attribute(part->rel, attnum, type);
	if (att == NULL || COMPAT_IS_VIRTUAL_COLUMN(att))
		mirror_raise_changed(mirror);
	part->last_attnum = Max(part->last_attnum, attnum);
	return attnum;
}

/*
 * Open a part, and check that it is what was compiled.  Of a table that is not partitioned nothing
 * can have changed under its lock, but a partition may have been attached; and a value that is
 * read as one of another type would disclose arbitrary memory.
 */
static Part *
open_part(const Mirror *mirror, Relation rel, Oid index)
{
	Part	   *part = palloc0(sizeof(Part));
	const Key  *key = mirror->key;
	List	   *columns = mirror->template ? mirror->template->columns : NIL;
	ListCell   *lc;

	part->rel = rel;
	part->index = index_open(index, AccessShareLock);
	part->attnums = palloc(sizeof(AttrNumber) * (list_length(columns) + 1));
	for (int i = 0; i < key->ncolumns; i++)
		part->key_attnums[i] = find_part_column(mirror, part, key->columns[i].attnum,
												key->columns[i].name, key->columns[i].type);
	foreach(lc, columns)
	{
		const TemplateColumn *column = lfirst(lc);

		part->attnums[foreach_current_index(lc)] =
			find_part_column(mirror, part, column->attnum, column->name, column->type);
	}
	if (!native_storage(rel) || !native_index(rel, part->index, key, part->key_attnums))
		mirror_raise_changed(mirror);
	part->slot = table_slot_create(rel, NULL);
	return part;
}

static bool open_parts(const Mirror *mirror, Relation rel, Oid index, List **parts);

/* Open a partition, or its own partitions.  Unless it has become a part itself it is closed again. */
static bool
open_partition(const Mirror *mirror, Oid partition, Oid parent_index, List **parts)
{
	Relation	rel;
	Oid			index;
	bool		done;

	if (!ConditionalLockRelationOid(partition, AccessShareLock))
		return false;
	rel = try_relation_open(partition, NoLock);
	if (rel == NULL)
		return false;			/* it was detached and dropped */
	index = index_get_partition(rel, parent_index);
	if (!OidIsValid(index))
		mirror_raise_changed(mirror);
	done = open_parts(mirror, rel, index, parts);
	if (!done || rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		relation_close(rel, NoLock);
	return done;
}

/* Open the parts of a table, the last partition first: in tables partitioned by time most changes are there. */
static bool
open_parts(const Mirror *mirror, Relation rel, Oid index, List **parts)
{
	PartitionDesc desc;

	check_stack_depth();
	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
	{
		if (!ConditionalLockRelationOid(index, AccessShareLock))
			return false;
		*parts = lappend(*parts, open_part(mirror, rel, index));
		return true;
	}
	desc = RelationGetPartitionDesc(rel, true);
	for (int i = desc->nparts - 1; i >= 0; i--)
	{
		if (!open_partition(mirror, desc->oids[i], index, parts))
			return false;
	}
	return true;
}

bool
parts_open(const Mirror *mirror, Relation rel, List **parts)
{
	bool		done;

	if (rel->rd_rel->relowner != mirror->owner)
		mirror_raise_changed(mirror);
	RelationIncrementReferenceCount(rel);	/* parts_close() closes it */
	done = open_parts(mirror, rel, mirror->key->index, parts);
	if (!done || rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		RelationDecrementReferenceCount(rel);
	return done;
}

void
parts_close(List *parts)
{
	ListCell   *lc;

	foreach(lc, parts)
	{
		Part	   *part = lfirst(lc);

		ExecDropSingleTupleTableSlot(part->slot);
		index_close(part->index, NoLock);
		relation_close(part->rel, NoLock);
	}
}

bool
parts_lock(Oid relation)
{
	ListCell   *lc;

	if (get_rel_relkind(relation) != RELKIND_PARTITIONED_TABLE)
		return true;
	foreach(lc, find_all_inheritors(relation, NoLock, NULL))
	{
		if (!ConditionalLockRelationOid(lfirst_oid(lc), AccessShareLock))
			return false;
	}
	return true;
}
