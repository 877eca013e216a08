/*-------------------------------------------------------------------------
 *
 * template.c
 *		A document template, compiled once and rendered once for each row.
 *
 * A template is the body of the API's create request with columns in it.  Compiling
 * turns it into a list of steps: text to copy, and columns to append as JSON.
 * Rendering (render.c) executes the list and needs no catalog.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/bounds.h"
#include "base/json.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "mirror/column_form.h"
#include "mirror/template.h"
#include "mirror/vector_check.h"
#include "miscadmin.h"
#include "remote/contract.h"
#include "remote/marker.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"

/* A place in the template where the contract restricts what a column may be. */
typedef struct Place
{
	const char *path;			/* hash key */
	bool		as_text;		/* the contract wants a string, so send the
								 * value's text */
	bool		not_null;		/* the contract does not allow null */
	char		status;			/* of the hash table's entry */
} Place;

#define SH_PREFIX places
#define SH_ELEMENT_TYPE Place
#define SH_KEY_TYPE const char *
#define SH_KEY path
#define SH_HASH_KEY(table, key) hash_bytes((const unsigned char *) (key), strlen(key))
#define SH_EQUAL(table, a, b) (strcmp(a, b) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct Compiler
{
	Template   *template;
	TupleDesc	desc;
	const Bitmapset *excluded;	/* attnums that are not part of "$*" */
	const char *table;			/* logical table's name */
	places_hash *places;
	int		   *column_index;	/* two for each attribute, in its own form and
								 * as text: index into template->columns, or
								 * -1 */
	StringInfoData literal;		/* text that is not part of a step yet */
	List	  **steps;			/* list that steps are added to */
	int			ncolumns;		/* number of steps that append a column */
	int			text_len;		/* bytes of text in all steps */
	int			depth;			/* of nested objects and arrays */
} Compiler;

/*
 * Compiling: bounds
 */

pg_noreturn static void
raise_too_much(const char *what, int max)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("the document template has more than %d %s", max, what)));
}

/* Return the path of a field of the object at "path", which is empty for the root. */
static char *
make_path(const char *path, const char *name)
{
	char	   *result = path[0] ? psprintf("%s.%s", path, name) : pstrdup(name);

	if (strlen(result) > MAX_TEMPLATE_PATH)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a field's path in the document template has more than %d bytes", MAX_TEMPLATE_PATH)));
	return result;
}

/*
 * Compiling: columns
 */

/* Return the column that the template names at "path". */
static Form_pg_attribute
find_attribute(Compiler *compiler, const char *name, const char *path)
{
	for (int i = 0; i < compiler->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(compiler->desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return att;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("%s: the table has no column \"%s\"", path, name),
			 errhint("A text that begins with a dollar sign is written with two: \"$$%s\".", name)));
}

/* Return the index into template->columns of a column in a form; add it if it is not there. */
static int
add_template_column(Compiler *compiler, Form_pg_attribute att, bool as_text)
{
	Template   *template = compiler->template;
	Oid			type = getBaseType(att->atttypid);
	ColumnForm	form = as_text ? COLUMN_TEXT : column_form(type);
	TemplateColumn *column;
	int		   *index = &compiler->column_index[(att->attnum - 1) * 2 + as_text];
	Oid			output;
	bool		varlena;

	if (*index >= 0)
		return *index;
	column = palloc0(sizeof(TemplateColumn));
	column->attnum = att->attnum;
	column->name = pstrdup(NameStr(att->attname));
	column->form = form;
	column->type = type;
	getTypeOutputInfo(att->atttypid, &output, &varlena);
	fmgr_info(output, &column->output);
	template->columns = lappend(template->columns, column);
	template->used = bms_add_member(template->used, att->attnum);
	*index = list_length(template->columns) - 1;
	return *index;
}

/*
 * Compiling: steps
 */

static TemplateStep *
add_step(Compiler *compiler, StepKind kind)
{
	TemplateStep *step = palloc0(sizeof(TemplateStep));

	step->kind = kind;
	*compiler->steps = lappend(*compiler->steps, step);
	return step;
}

/* Make a step of the collected text. */
static void
flush_literal(Compiler *compiler)
{
	TemplateStep *step;

	if (compiler->literal.len == 0)
		return;
	compiler->text_len += compiler->literal.len;
	step = add_step(compiler, STEP_TEXT);
	step->text = pnstrdup(compiler->literal.data, compiler->literal.len);
	step->text_len = compiler->literal.len;
	resetStringInfo(&compiler->literal);
}

/* Add a step that needs no more than its kind. */
static void
add_simple_step(Compiler *compiler, StepKind kind)
{
	flush_literal(compiler);
	add_step(compiler, kind);
}

static void
add_column_step(Compiler *compiler, StepKind kind, Form_pg_attribute att, const char *path)
{
	const Place *place = places_lookup(compiler->places, path); /* NULL: the contract
																 * does not restrict it */
	TemplateStep *step;

	if (++compiler->ncolumns > MAX_TEMPLATE_COLUMNS)
		raise_too_much("columns to send", MAX_TEMPLATE_COLUMNS);
	flush_literal(compiler);
	step = add_step(compiler, kind);
	step->column = add_template_column(compiler, att, place && place->as_text);
	step->definition = list_nth(compiler->template->columns, step->column);
	step->not_null = place && place->not_null;
	step->vector = vector_part(path);
	step->path = pstrdup(path);
}

/* Add all columns except the excluded ones as members, each preceded by a comma. */
static void
add_whole_row(Compiler *compiler, const char *path)
{
	for (int i = 0; i < compiler->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(compiler->desc, i);

		if (att->attisdropped || bms_is_member(att->attnum, compiler->excluded))
			continue;
		if (strcmp(NameStr(att->attname), MARKER_FIELD) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_RESERVED_NAME),
					 errmsg("column \"%s\" has the name of the marker", MARKER_FIELD),
					 errhint("Name the columns to send in the template's metadata.")));
		appendStringInfoChar(&compiler->literal, ',');
		escape_json(&compiler->literal, NameStr(att->attname));
		appendStringInfoChar(&compiler->literal, ':');
		add_column_step(compiler, STEP_COLUMN, att, path);
	}
}

/* Add "$*": all columns as an object. */
static void
add_row_object(Compiler *compiler, const char *path)
{
	List	  **steps = compiler->steps;
	List	   *members = NIL;

	flush_literal(compiler);
	compiler->steps = &members;
	add_whole_row(compiler, path);
	flush_literal(compiler);
	compiler->steps = steps;
	appendStringInfoChar(&compiler->literal, '{');
	if (members != NIL)
	{
		TemplateStep *first = linitial(members);

		/* the first member needs no comma */
		first->text++;
		first->text_len--;
	}
	flush_literal(compiler);
	*steps = list_concat(*steps, members);
	appendStringInfoChar(&compiler->literal, '}');
}

/* Add a string of the template: a column, the row, or a text. */
static void
add_string(Compiler *compiler, const char *str, const char *path)
{
	if (str[0] != '$')
		escape_json(&compiler->literal, str);
	else if (str[1] == '$')
		escape_json(&compiler->literal, str + 1);
	else if (strcmp(str, "$*") == 0)
		add_row_object(compiler, path);
	else
		add_column_step(compiler, STEP_COLUMN, find_attribute(compiler, str + 1, path), path);
}

static void add_container(Compiler *compiler, JsonbContainer *container, const char *path);

/* Add a value of the template.  Frees the path. */
static void
add_value(Compiler *compiler, JsonbValue *value, char *path)
{
	CHECK_FOR_INTERRUPTS();
	if (compiler->text_len + compiler->literal.len > MAX_TEMPLATE_TEXT)
		raise_too_much("bytes of text", MAX_TEMPLATE_TEXT);
	switch (value->type)
	{
		case jbvNull:
			appendStringInfoString(&compiler->literal, "null");
			break;
		case jbvBool:
			appendStringInfoString(&compiler->literal, value->val.boolean ? "true" : "false");
			break;
		case jbvNumeric:
			appendStringInfoString(&compiler->literal,
								   DatumGetCString(DirectFunctionCall1(numeric_out,
																	   NumericGetDatum(value->val.numeric))));
			break;
		case jbvString:
			add_string(compiler, pnstrdup(value->val.string.val, value->val.string.len), path);
			break;
		case jbvBinary:
			add_container(compiler, value->val.binary.data, path);
			break;
		default:
			elog(ERROR, "unexpected jsonb value type %d", (int) value->type);
	}
	pfree(path);
}

/* Add the members of an object, each preceded by a comma, without braces. */
static void
add_members(Compiler *compiler, JsonbContainer *object, const char *path)
{
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *name = NULL;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE)
		{
			appendStringInfoChar(&compiler->literal, ',');
			escape_json(&compiler->literal, name);
			appendStringInfoChar(&compiler->literal, ':');
			add_value(compiler, &value, make_path(path, name));
		}
	}
}

/* Add an object or an array. */
static void
add_container(Compiler *compiler, JsonbContainer *container, const char *path)
{
	JsonbIterator *it = JsonbIteratorInit(container);
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *name = NULL;
	int			n = 0;
	bool		is_array = JsonContainerIsArray(container);

	if (++compiler->depth > MAX_TEMPLATE_DEPTH)
		raise_too_much("levels of objects and arrays", MAX_TEMPLATE_DEPTH);
	appendStringInfoChar(&compiler->literal, is_array ? '[' : '{');
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE || token == WJB_ELEM)
		{
			if (n > 0)
				appendStringInfoChar(&compiler->literal, ',');
			if (token == WJB_VALUE)
			{
				escape_json(&compiler->literal, name);
				appendStringInfoChar(&compiler->literal, ':');
				add_value(compiler, &value, make_path(path, name));
			}
			else
				add_value(compiler, &value, psprintf("%s[%d]", path, n));
			n++;
		}
	}
	appendStringInfoChar(&compiler->literal, is_array ? ']' : '}');
	compiler->depth--;
}

/*
 * Compiling: the document's fields
 */

/* Add "metadata": the marker, then what the template says, or else all columns. */
static void
add_metadata(Compiler *compiler, JsonbValue *value)
{
	char	   *str = NULL;

	if (value && value->type == jbvString)
		str = pnstrdup(value->val.string.val, value->val.string.len);

	appendStringInfoString(&compiler->literal, ",\"metadata\":{\"" MARKER_FIELD "\":");
	add_simple_step(compiler, STEP_MARKER);
	compiler->template->metadata_is_column = str && strcmp(str, "$*") != 0;
	if (compiler->template->metadata_is_column)
		add_column_step(compiler, STEP_METADATA,
						find_attribute(compiler, str + 1, "metadata"), "metadata");
	else if (value && value->type == jbvBinary)
		add_members(compiler, value->val.binary.data, "metadata");
	else
		add_whole_row(compiler, "metadata");
	appendStringInfoChar(&compiler->literal, '}');
}

/* Add the source_details of a template that has none.  The contract requires the task fields, which mean nothing for a row. */
static void
add_default_source_details(Compiler *compiler)
{
	appendStringInfoString(&compiler->literal,
						   ",\"source_details\":[{\"type\":\"bucket\",\"source_id\":");
	escape_json(&compiler->literal, compiler->table);
	appendStringInfoString(&compiler->literal, ",\"object_id\":");
	add_simple_step(compiler, STEP_KEY);
	appendStringInfoString(&compiler->literal,
						   ",\"feature_extractor_task_id\":\"none\",\"object_task_id\":\"none\""
						   ",\"feature_extractor_id\":\"mixpeek_docs\"}]");
}

/* Return a field of the template's root; NULL if it is missing or null. */
static JsonbValue *
find_root_field(Jsonb *document, const char *name)
{
	JsonbValue *value = document ? json_member(&document->root, name) : NULL;

	return value && value->type == jbvNull ? NULL : value;
}

/* Check whether the field has a function of its own here. */
static bool
is_named_field(const char *name)
{
	return strcmp(name, "metadata") == 0 || strcmp(name, "source_details") == 0 ||
		strcmp(name, "features") == 0;
}

/* Add the fields of the root that have no function of their own. */
static void
add_other_fields(Compiler *compiler, Jsonb *document)
{
	JsonbIterator *it = JsonbIteratorInit(&document->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *name = NULL;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE && !is_named_field(name))
		{
			appendStringInfoChar(&compiler->literal, ',');
			escape_json(&compiler->literal, name);
			appendStringInfoChar(&compiler->literal, ':');
			add_value(compiler, &value, make_path("", name));
			compiler->template->names = lappend(compiler->template->names, name);
			compiler->template->root_fields = lappend(compiler->template->root_fields, name);
		}
	}
}

/* Add everything except the features. */
static void
add_content(Compiler *compiler, Jsonb *document)
{
	JsonbValue *source_details = find_root_field(document, "source_details");

	compiler->steps = &compiler->template->content;
	add_metadata(compiler, find_root_field(document, "metadata"));
	if (source_details)
	{
		appendStringInfoString(&compiler->literal, ",\"source_details\":");
		add_value(compiler, source_details, pstrdup("source_details"));
	}
	else
		add_default_source_details(compiler);
	if (document)
		add_other_fields(compiler, document);
	flush_literal(compiler);
}

static void
add_feature(Compiler *compiler, JsonbValue *feature, int n)
{
	List	   *steps = NIL;

	compiler->steps = &steps;
	add_value(compiler, feature, psprintf("features[%d]", n));
	flush_literal(compiler);
	compiler->template->features = lappend(compiler->template->features, steps);
}

/* Add the features.  The contract has been checked: they are an array, or one column for all of them. */
static void
add_features(Compiler *compiler, Jsonb *document)
{
	JsonbValue *features = find_root_field(document, "features");
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	int			n = 0;

	if (features == NULL)
		return;
	compiler->template->has_features = true;
	if (features->type != jbvBinary)
	{
		compiler->template->features_are_column = true;
		add_feature(compiler, features, 0);
		return;
	}
	it = JsonbIteratorInit(features->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (n == MAX_TEMPLATE_FEATURES)
			raise_too_much("features", MAX_TEMPLATE_FEATURES);
		add_feature(compiler, &value, n++);
	}
}

/* Check whether the contract accepts every value of a column of these types. */
static bool
types_fit(int types, int expected)
{
	if (expected & CONTRACT_NUMBER)
		expected |= CONTRACT_INTEGER;
	return (types & ~expected) == 0;
}

/*
 * ContractStringHook: return the JSON types that a string of the template will have when it is
 * rendered.  Where the contract wants a string, a column of any type is sent as its
 * text; note such places, and those where null is not allowed.
 */
static int
string_types(const char *str, int len, const char *path, int expected, void *arg)
{
	Compiler   *compiler = arg;
	Form_pg_attribute att;
	Place	   *place;
	bool		found;
	int			types;

	CHECK_FOR_INTERRUPTS();
	if (len == 0 || str[0] != '$' || (len > 1 && str[1] == '$'))
		return 0;
	if (len == 2 && str[1] == '*')
		return CONTRACT_OBJECT;
	att = find_attribute(compiler, pnstrdup(str + 1, len - 1), path);
	types = column_json_types(getBaseType(att->atttypid));
	if ((expected & CONTRACT_ANY) == CONTRACT_ANY)
		return types;
	if (compiler->places->members == MAX_TEMPLATE_COLUMNS)
		raise_too_much("columns to send", MAX_TEMPLATE_COLUMNS);
	place = places_insert(compiler->places, pstrdup(path), &found);
	place->not_null = !(expected & CONTRACT_NULL);
	place->as_text = (expected & CONTRACT_STRING) && !types_fit(types, expected);
	return place->as_text ? CONTRACT_STRING : types;
}

/* Raise what is wrong with the template, except unknown columns outside the contract's fields. */
static void
check_template(Compiler *compiler, Jsonb *document)
{
	JsonbValue *metadata;

	if (!JB_ROOT_IS_OBJECT(document))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the document template must be a JSON object")));
	if (find_root_field(document, "collection_id"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("collection_id must not be part of the document template"),
				 errdetail("A mirror's collection is an argument of its own.")));
	contract_check(&contract_create, document, string_types, compiler);
	metadata = find_root_field(document, "metadata");
	if (metadata && metadata->type == jbvBinary &&
		json_member(metadata->val.binary.data, MARKER_FIELD))
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("metadata.%s is reserved for the marker", MARKER_FIELD)));
}

/*
 * Collect the names of all fields of metadata: the API may return them at the document's root,
 * where they must not be taken for enrichments.
 */
static void
collect_names(Compiler *compiler, Jsonb *document)
{
	Template   *template = compiler->template;
	JsonbValue *metadata = find_root_field(document, "metadata");

	template->names = lappend(template->names, pstrdup(MARKER_FIELD));
	if (metadata && metadata->type == jbvBinary)
	{
		JsonbIterator *it = JsonbIteratorInit(metadata->val.binary.data);
		JsonbIteratorToken token;
		JsonbValue	value;

		while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
			if (token == WJB_KEY)
				template->names = lappend(template->names,
										  pnstrdup(value.val.string.val, value.val.string.len));
		return;
	}
	for (int i = 0; i < compiler->desc->natts; i++)
		template->names = lappend(template->names,
								  pstrdup(NameStr(TupleDescAttr(compiler->desc, i)->attname)));
}

Template *
template_compile(Jsonb *document, TupleDesc desc, const Bitmapset *excluded,
				 const char *table)
{
	Compiler	compiler = {0};

	compiler.template = palloc0(sizeof(Template));
	compiler.desc = desc;
	compiler.excluded = excluded;
	compiler.table = table;
	compiler.places = places_create(CurrentMemoryContext, 64, NULL);
	compiler.column_index = palloc(sizeof(int) * 2 * (desc->natts + 1));
	memset(compiler.column_index, -1, sizeof(int) * 2 * (desc->natts + 1));
	initStringInfo(&compiler.literal);
	if (document)
		check_template(&compiler, document);
	add_content(&compiler, document);
	add_features(&compiler, document);
	collect_names(&compiler, document);
	return compiler.template;
}
