/*-------------------------------------------------------------------------
 *
 * arguments.c
 *		The arguments of a mirror's trigger.
 *
 * Any owner of a table can write them, and every process that compiles the mirror
 * reads them.  Therefore lengths are checked before anything else is done.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/bounds.h"
#include "catalog/namespace.h"
#include "catalog/pg_database.h"
#include "catalog/pg_namespace.h"
#include "mb/pg_wchar.h"
#include "mirror/arguments.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

static const struct
{
	const char *name;
	size_t		offset;
	int			max_length;
}			options[] =

{
	{"document", offsetof(MirrorArguments, document), MAX_TEMPLATE},
	{"server", offsetof(MirrorArguments, server), NAMEDATALEN - 1},
	{"document_id_column", offsetof(MirrorArguments, document_id_column), NAMEDATALEN - 1},
	{"enrichments_column", offsetof(MirrorArguments, enrichments_column), NAMEDATALEN - 1},
	{"table", offsetof(MirrorArguments, table), MAX_TABLE_NAME},
	{"filter", offsetof(MirrorArguments, filter), MAX_FILTER},
};

/* Return the value of an argument name=value; NULL if it has another name. */
static const char *
match_option(const char *arg, const char *name)
{
	size_t		len = strlen(name);

	return strncmp(arg, name, len) == 0 && arg[len] == '=' ? arg + len + 1 : NULL;
}

static void
check_length(const char *name, const char *value, int max_length)
{
	size_t		len = strlen(value);

	if (len > (size_t) max_length)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s has %zu bytes, more than %d", name, len, max_length)));
}

/* Return as much of a text as an error should show. */
static char *
clip_text(const char *text)
{
	int			len = strnlen(text, NAMEDATALEN * 4);

	return pnstrdup(text, pg_mbcliplen(text, len, NAMEDATALEN * 2));
}

static void
decode_option(MirrorArguments *arguments, const char *arg)
{
	for (int i = 0; i < (int) lengthof(options); i++)
	{
		const char *value = match_option(arg, options[i].name);
		char	  **field = (char **) ((char *) arguments + options[i].offset);

		if (value == NULL)
			continue;
		if (*field)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("mirror argument \"%s\" is specified more than once", options[i].name)));
		check_length(options[i].name, value, options[i].max_length);
		*field = pstrdup(value);
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown mirror argument \"%s\"", clip_text(arg)),
			 errhint("After the collection come arguments of the form name=value: document, server, document_id_column, enrichments_column, table, filter.")));
}

/* Check for "." and "..", which would be steps in the path of a request's URL. */
static bool
is_path_step(const char *collection)
{
	return strcmp(collection, ".") == 0 || strcmp(collection, "..") == 0;
}

bool
arguments_is_collection(const char *collection)
{
	return collection[0] != '\0' && !is_path_step(collection) &&
		strnlen(collection, MAX_COLLECTION + 1) <= MAX_COLLECTION;
}

void
arguments_decode(MirrorArguments *arguments, int nargs, char **args)
{
	if (nargs == 0 || args[0][0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a mirror needs a collection"),
				 errhint("Write it as the trigger function's first argument: mixpeek.mirror_row('my_collection').")));
	if (is_path_step(args[0]))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid collection: \"%s\"", args[0])));
	check_length("collection", args[0], MAX_COLLECTION);
	arguments->collection = pstrdup(args[0]);
	for (int i = 1; i < nargs; i++)
		decode_option(arguments, args[i]);
	if (arguments->server == NULL)
		arguments->server = pstrdup(DEFAULT_SERVER_NAME);
}

void
arguments_default(MirrorArguments *arguments, int nargs, char **args)
{
	const char *collection = nargs > 0 ? args[0] : "";
	int			len = strnlen(collection, MAX_COLLECTION + MAX_MULTIBYTE_CHAR_LEN);

	memset(arguments, 0, sizeof(MirrorArguments));
	arguments->collection = pnstrdup(collection, pg_mbcliplen(collection, len, MAX_COLLECTION));
	arguments->server = pstrdup(DEFAULT_SERVER_NAME);
}

const char *
arguments_find(int nargs, char **args, const char *name)
{
	const char *value = NULL;

	for (int i = 1; i < nargs && value == NULL; i++)
		value = match_option(args[i], name);
	return value;
}

/*
 * table=
 */

/* Check whether a role owns a table of this name, or could create it. */
static bool
may_have_table(Oid owner, const char *schema, const char *table)
{
	Oid			namespace = get_namespace_oid(schema, true);
	Oid			relation;

	if (!OidIsValid(namespace))
		return COMPAT_DATABASE_ACLCHECK(MyDatabaseId, owner, ACL_CREATE) == ACLCHECK_OK;
	relation = get_relname_relid(table, namespace);
	if (OidIsValid(relation))
		return COMPAT_OWNS_TABLE(relation, owner);
	return COMPAT_SCHEMA_ACLCHECK(namespace, owner, ACL_CREATE) == ACLCHECK_OK;
}

/* Return the parts of a table's name with its schema, as a List of two char *; NIL if it is none. */
static List *
split_name(const char *name)
{
	List	   *names = NIL;

	return SplitIdentifierString(pstrdup(name), '.', &names) && list_length(names) == 2 ? names : NIL;
}

char *
arguments_find_table(Oid relation, int nargs, char **args)
{
	const char *table = arguments_find(nargs, args, "table");
	List	   *names = table ? split_name(table) : NIL;

	if (table)
		return names ? quote_qualified_identifier(linitial(names), lsecond(names)) : NULL;
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), get_rel_name(relation));
}

char *
arguments_table(const MirrorArguments *arguments, Relation rel)
{
	List	   *names;

	if (arguments->table == NULL)
		return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
										  RelationGetRelationName(rel));
	names = split_name(arguments->table);
	if (names == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("table=%s is not a table's name with its schema", clip_text(arguments->table)),
				 errhint("Write it as in SQL: table=schema.name.")));
	if (!may_have_table(rel->rd_rel->relowner, linitial(names), lsecond(names)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("table=%s names a table that \"%s\" does not own and could not create",
						clip_text(arguments->table), GetUserNameFromId(rel->rd_rel->relowner, true)),
				 errdetail("The name is part of each document's marker, which says whose document it is.")));
	return quote_qualified_identifier(linitial(names), lsecond(names));
}
