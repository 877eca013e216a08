/*-------------------------------------------------------------------------
 *
 * restore.c
 *		Taking in what pg_dump has written of the extension's tables.
 *
 * The tables have row-level security, and pg_dump by a role to which that applies stops at
 * such a table, whatever its policies allow.  So pg_dump is not made to dump them, but
 * mixpeek.dump, which has no row-level security and is always empty.  The condition that is
 * registered for it adds what the function mixpeek.dump_content() returns of the other tables to the role
 * that dumps.  When the dump is restored, the trigger on mixpeek.dump puts each row where it
 * belongs.
 *
 * Tables and roles are named in a dump, and may be missing where it is restored (pg_dump -T).
 * Records that name them are left out.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/extension.h"
#include "base/statement.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(mixpeek_restore_record);

#define DUMP_KIND	1			/* columns of mixpeek.dump */
#define DUMP_RECORD 2

/* A table of which mixpeek.dump has records. */
typedef struct DumpedTable
{
	const char *name;
	Statement	insert;			/* its sql is in TopMemoryContext; NULL: not
								 * made yet */
} DumpedTable;

static DumpedTable tables[] =
{
	{
		"documents",
		{
			0
		}
	},
	{
		"forgotten",
		{
			0
		}
	},
	{
		"origin",
		{
			0
		}
	},
	{
		"outbox",
		{
			0
		}
	}
};

/* What a record refers to by name, and whether that exists; kept for the next record of the statement. */
typedef struct Reference
{
	char	   *relation;		/* NULL: none */
	char	   *owner;
	bool		exists;
} Reference;

static DumpedTable *
find_table(const char *name)
{
	for (int i = 0; i < lengthof(tables); i++)
	{
		if (strcmp(tables[i].name, name) == 0)
			return &tables[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("extension \"%s\" has no table \"%s\" that is part of a dump", EXTENSION_NAME, name),
			 errhint("Install the version of the extension that the dump was made with.")));
}

/* Make the statement that inserts a record, which has a field for each column, into a table. */
static char *
make_insert(const char *table, Jsonb *record)
{
	StringInfoData columns;
	JsonbIterator *iterator = JsonbIteratorInit(&record->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	initStringInfo(&columns);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			appendStringInfo(&columns, "%s%s", columns.len > 0 ? ", " : "",
							 quote_identifier(pnstrdup(value.val.string.val, value.val.string.len)));
	}
	return psprintf("INSERT INTO mixpeek.%s (%s) SELECT %s FROM pg_catalog.jsonb_populate_record(NULL::mixpeek.%s, $1)",
					table, columns.data, columns.data, table);
}

/* Insert a record.  All records of a dump have the same columns, so there is one plan a table. */
static void
insert_record(DumpedTable *table, Jsonb *record)
{
	Statement  *insert = &table->insert;
	char	   *sql = make_insert(table->name, record);
	Datum		args[1];

	if (insert->sql == NULL || strcmp(insert->sql, sql) != 0)
	{
		if (insert->plan)
			SPI_freeplan(insert->plan);
		insert->plan = NULL;
		insert->sql = MemoryContextStrdup(TopMemoryContext, sql);
		insert->nargs = 1;
		insert->types[0] = JSONBOID;
	}
	args[0] = JsonbPGetDatum(record);
	(void) statement_execute(insert, args, NULL);
}

/* Return a field of a record, palloc'd, or NULL if there is none or it is no string. */
static char *
get_string(Jsonb *record, const char *field)
{
	JsonbValue	buffer;
	JsonbValue *value = getKeyJsonValueFromContainer(&record->root, field, strlen(field), &buffer);

	return value && value->type == jbvString ? pnstrdup(value->val.string.val, value->val.string.len) : NULL;
}

/* Check whether there are a table and a role of these names.  NULL and "-" are no names. */
static bool
names_exist(const char *relation, const char *owner)
{
	static Statement query = {
		"SELECT (coalesce($1, '-') = '-' OR pg_catalog.to_regclass($1) IS NOT NULL)"
		" AND (coalesce($2, '-') = '-' OR pg_catalog.to_regrole($2) IS NOT NULL)",
		2, {TEXTOID, TEXTOID}
	};
	Datum		args[2];
	char		nulls[] = "  ";
	bool		exist;

	args[0] = relation ? CStringGetTextDatum(relation) : (Datum) 0;
	args[1] = owner ? CStringGetTextDatum(owner) : (Datum) 0;
	nulls[0] = relation ? ' ' : 'n';
	nulls[1] = owner ? ' ' : 'n';
	statement_run(&query, args, nulls);
	exist = DatumGetBool(statement_value(0, 1, NULL));
	statement_end();
	return exist;
}

static bool
same_name(const char *a, const char *b)
{
	return a == NULL ? b == NULL : b != NULL && strcmp(a, b) == 0;
}

/* Check whether what a record refers to exists, and warn if not, once for several records in a row. */
static bool
check_references(Reference *last, MemoryContext context, Jsonb *record)
{
	char	   *relation = get_string(record, "relation");
	char	   *owner = get_string(record, "owner");

	if (same_name(relation, last->relation) && same_name(owner, last->owner))
		return last->exists;
	last->relation = relation ? MemoryContextStrdup(context, relation) : NULL;
	last->owner = owner ? MemoryContextStrdup(context, owner) : NULL;
	last->exists = names_exist(relation, owner);
	if (!last->exists)
		ereport(WARNING,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 owner ? errmsg("what is to be deleted with the API key of role \"%s\" is not restored, since there is no such role",
								owner) :
				 errmsg("the records of table \"%s\" are not restored, since there is no such table", relation),
				 errhint("Its documents stay at the API.")));
	return last->exists;
}

static Reference *
get_last_reference(FmgrInfo *flinfo)
{
	if (flinfo->fn_extra == NULL)
	{
		Reference  *last = MemoryContextAllocZero(flinfo->fn_mcxt, sizeof(Reference));

		last->exists = true;
		flinfo->fn_extra = last;
	}
	return flinfo->fn_extra;
}

static Datum
get_column(TriggerData *trigdata, int column)
{
	bool		isnull;
	Datum		value = heap_getattr(trigdata->tg_trigtuple, column, RelationGetDescr(trigdata->tg_relation), &isnull);

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("null value in column %d of mixpeek.dump", column)));
	return value;
}

/*
 * mixpeek.restore_record(): trigger function of mixpeek.dump, BEFORE INSERT FOR EACH ROW.  Puts the
 * record into the table that it is of, with the rights of who restores, and the row nowhere.
 */
Datum
mixpeek_restore_record(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	char	   *kind;
	Jsonb	   *record;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigdata->tg_event) ||
		!TRIGGER_FIRED_BY_INSERT(trigdata->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigdata->tg_event) ||
		!extension_has_member(RelationRelationId, RelationGetRelid(trigdata->tg_relation)))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("mixpeek.restore_record() must be called as the trigger of mixpeek.dump")));
	kind = TextDatumGetCString(get_column(trigdata, DUMP_KIND));
	record = DatumGetJsonbP(get_column(trigdata, DUMP_RECORD));
	if (check_references(get_last_reference(fcinfo->flinfo), fcinfo->flinfo->fn_mcxt, record))
		insert_record(find_table(kind), record);
	PG_RETURN_POINTER(NULL);
}
