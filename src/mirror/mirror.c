/*-------------------------------------------------------------------------
 *
 * mirror.c
 *		What is mirrored, and how: the arguments of a trigger, compiled.
 *
 * The trigger is the mirror's only definition.  Both sides compile it: the
 * writer's session needs the key and the set of mirrored columns, the worker also
 * the template.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/relation.h"
#include "base/extension.h"
#include "base/guard.h"
#include "base/user.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "mirror/filter.h"
#include "mirror/mirror.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/*
 * Compiling
 */

/* Return the number of a write-back column; InvalidAttrNumber if name is NULL. */
static AttrNumber
find_write_back_column(Relation rel, const char *name, Oid type, const char *type_name)
{
	AttrNumber	attnum;

	if (name == NULL)
		return InvalidAttrNumber;
	attnum = get_attnum(RelationGetRelid(rel), name);
	if (attnum <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist",
						name, RelationGetRelationName(rel))));
	if (getBaseType(get_atttype(RelationGetRelid(rel), attnum)) != type &&
		!(type == TEXTOID && getBaseType(get_atttype(RelationGetRelid(rel), attnum)) == VARCHAROID))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" must be of type %s", name, type_name)));
	return attnum;
}

/* Add a column's number to the set; name may be NULL, or not the name of a column. */
static Bitmapset *
add_excluded_column(Bitmapset *columns, Relation rel, const char *name)
{
	AttrNumber	attnum = name ? get_attnum(RelationGetRelid(rel), name) : InvalidAttrNumber;

	return attnum > 0 ? bms_add_member(columns, attnum) : columns;
}

/* Append the column name that a trigger's argument has, unless it is missing or too long for a name. */
static List *
add_column_name(List *names, const Trigger *trigger, const char *argument)
{
	const char *name = arguments_find(trigger->tgnargs, trigger->tgargs, argument);

	return name && strnlen(name, NAMEDATALEN) < NAMEDATALEN ? lappend(names, pstrdup(name)) : names;
}

/*
 * Return the write-back columns of all mirrors of the table, as a set of column numbers.
 * They are not part of "all columns" in a template.  Other mirrors' arguments may be
 * wrong, so only existing columns are collected; and any catalog access may free
 * rel->trigdesc, so the names are copied first.
 */
static Bitmapset *
find_write_back_columns(Relation rel, const MirrorArguments *arguments)
{
	Oid			function = mirror_function();
	TriggerDesc *triggers = rel->trigdesc;
	Bitmapset  *columns = NULL;
	List	   *names = NIL;
	ListCell   *lc;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (trigger->tgfoid != function)
			continue;
		names = add_column_name(names, trigger, "document_id_column");
		names = add_column_name(names, trigger, "enrichments_column");
	}
	foreach(lc, names)
		columns = add_excluded_column(columns, rel, lfirst(lc));
	columns = add_excluded_column(columns, rel, arguments->document_id_column);
	return add_excluded_column(columns, rel, arguments->enrichments_column);
}

static void
raise_no_key(void *arg)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" has no primary key", RelationGetRelationName((Relation) arg)),
			 errhint("A mirror finds its rows by key: add a primary key, or set a replica identity index.")));
}

/* Raise that the table has no key, or leave it in mirror->problem unless there is another one. */
static void
check_key(Mirror *mirror, Relation rel, MirrorErrors errors)
{
	if (mirror->key || mirror->problem)
		return;
	if (errors == MIRROR_RAISE_ALL)
		raise_no_key(rel);
	mirror->problem = guard_call(raise_no_key, rel);
	mirror->template = NULL;
}

/* Add the columns that the filter uses to those that the document depends on. */
static void
compile_filter(Mirror *mirror, Relation rel, const Bitmapset *excluded)
{
	Bitmapset  *columns;

	if (mirror->arguments.filter == NULL)
		return;
	columns = filter_columns(rel, mirror->arguments.filter);
	if (bms_overlap(columns, excluded))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the filter must not use a column that is written back to"),
				 errdetail("Write-backs do not count as changes of the row.")));
	mirror->template->used = bms_add_members(mirror->template->used, columns);
}

/* Compile the template and the filter, and check all that a mirror needs besides them, except the key. */
static void
compile_template(Mirror *mirror, Relation rel)
{
	MirrorArguments *arguments = &mirror->arguments;
	Bitmapset  *excluded;
	Jsonb	   *document = NULL;

	mirror->document_id_attnum =
		find_write_back_column(rel, arguments->document_id_column, TEXTOID, "text");
	mirror->enrichments_attnum =
		find_write_back_column(rel, arguments->enrichments_column, JSONBOID, "jsonb");
	excluded = find_write_back_columns(rel, arguments);
	for (int i = 0; mirror->key && i < mirror->key->ncolumns; i++)
		if (bms_is_member(mirror->key->columns[i].attnum, excluded))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("key column \"%s\" cannot be written back to",
							mirror->key->columns[i].name)));
	if (arguments->document)
		document = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
													  CStringGetDatum(arguments->document)));
	mirror->template = template_compile(document, RelationGetDescr(rel), excluded, mirror->table);
	compile_filter(mirror, rel, excluded);
}

/* Raise an error unless the relation is of a kind that can be mirrored. */
static void
check_relation(Relation rel)
{
	char		kind = rel->rd_rel->relkind;

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", RelationGetRelationName(rel))));
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("temporary table \"%s\" cannot be mirrored", RelationGetRelationName(rel)),
				 errdetail("Only this session can read its rows.")));
	if (RelationGetNamespace(rel) == extension_schema())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" cannot be mirrored", RelationGetRelationName(rel)),
				 errdetail("The extension's own tables change with every mirrored row.")));
}

typedef struct CompileCall
{
	Mirror	   *mirror;
	Relation	rel;
	int			nargs;
	char	  **args;
	const char *when;
	bool		deparse;
} CompileCall;

/*
 * Compile all that may fail.  The key comes first: a writer's session records changed
 * keys even if everything else in the mirror is wrong.
 */
static void
compile_guarded(void *arg)
{
	CompileCall *call = arg;
	Mirror	   *mirror = call->mirror;
	MemoryContext old = MemoryContextSwitchTo(mirror->context);
	MirrorArguments arguments = {0};

	mirror->key = key_of_relation(call->rel);
	arguments_decode(&arguments, call->nargs, call->args);
	check_relation(call->rel);
	filter_refuse_when(call->rel, call->when, call->deparse);
	mirror->arguments = arguments;
	mirror->table = arguments_table(&arguments, call->rel);
	compile_template(mirror, call->rel);
	MemoryContextSwitchTo(old);
}

Mirror *
mirror_compile(Relation rel, int nargs, char **args, const char *when,
			   MemoryContext parent, MirrorErrors errors)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "mixpeek mirror",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Mirror	   *mirror = palloc0(sizeof(Mirror));
	CompileCall call = {mirror, rel, nargs, args, when, errors != MIRROR_RAISE_NOTHING};
	MirrorArguments none = {0};
	int			nest_level = pin_settings();	/* quote_all_identifiers
												 * changes how names are
												 * quoted */

	mirror->context = context;
	mirror->relation = RelationGetRelid(rel);
	mirror->owner = rel->rd_rel->relowner;
	mirror->namespace_hash = GetSysCacheHashValue1(NAMESPACEOID, ObjectIdGetDatum(RelationGetNamespace(rel)));
	arguments_default(&mirror->arguments, nargs, args);
	mirror->table = arguments_table(&none, rel);
	if (errors != MIRROR_RAISE_NOTHING)
		compile_guarded(&call);
	else
		mirror->problem = guard_call(compile_guarded, &call);
	check_key(mirror, rel, errors);
	unpin_settings(nest_level);
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(context, parent);	/* only now: an error would
												 * have left it there */
	return mirror;
}

void
mirror_free(Mirror *mirror)
{
	MemoryContextDelete(mirror->context);
}

/*
 * Finding triggers
 */

Oid
mirror_function(void)
{
	return extension_object(EXTENSION_MIRROR_ROW);
}

TriggerDesc *
mirror_triggers(Relation rel)
{
	return rel->trigdesc ? CopyTriggerDesc(rel->trigdesc) : palloc0(sizeof(TriggerDesc));
}

bool
mirror_is_trigger_into(const Trigger *trigger, Oid function, const char *collection)
{
	return trigger->tgfoid == function && trigger->tgnargs > 0 &&
		(collection == NULL || strcmp(trigger->tgargs[0], collection) == 0);
}

/*
 * Return a copy of the arguments of the row trigger that mirrors into the collection, and of its
 * condition; NULL if there is none.
 */
static char **
find_arguments(Relation rel, const char *collection, int *nargs, char **when)
{
	Oid			function = mirror_function();
	TriggerDesc *triggers = rel->trigdesc;
	char	  **args;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (!TRIGGER_FOR_ROW(trigger->tgtype) || !mirror_is_trigger_into(trigger, function, collection))
			continue;
		*nargs = trigger->tgnargs;
		*when = trigger->tgqual ? pstrdup(trigger->tgqual) : NULL;
		args = palloc(sizeof(char *) * *nargs);
		for (int arg = 0; arg < *nargs; arg++)
			args[arg] = pstrdup(trigger->tgargs[arg]);
		return args;
	}
	return NULL;
}

Mirror *
mirror_find(Oid relation, const char *collection, MemoryContext parent)
{
	Relation	rel = try_relation_open(relation, NoLock);
	Mirror	   *mirror = NULL;
	char	  **args;
	char	   *when;
	int			nargs;

	if (rel == NULL)
		return NULL;
	args = find_arguments(rel, collection, &nargs, &when);
	if (args)
		mirror = mirror_compile(rel, nargs, args, when, parent, MIRROR_RAISE_NOTHING);
	relation_close(rel, NoLock);
	return mirror;
}

/*
 * Checks
 */

void
mirror_check_owner(Oid relation)
{
	if (!COMPAT_OWNS_TABLE(relation, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(relation));
}

void
mirror_check_key(const Mirror *mirror, const char *key)
{
	Datum		values[INDEX_MAX_KEYS];
	UserState	guard;

	user_switch(&guard, mirror->owner);
	key_from_text(mirror->key, key, values);
	user_restore(&guard);
}

void
mirror_raise_changed(const Mirror *mirror)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table %u has changed since its mirror was compiled", mirror->relation)));
}
