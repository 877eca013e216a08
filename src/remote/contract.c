/*-------------------------------------------------------------------------
 *
 * contract.c
 *		The API's published contract as tables, and checks of values against
 *		it.  Pure: no catalog, no network.
 *
 * The tables join the contracts of 2025-09, 2026-02 and 2026-10: a field is checked if one of them has
 * it, and accepted if neither has.  Whether a field that only one of them requires may be
 * missing (source_details) is left to the API.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/json.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "remote/contract.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

/* Levels of nested filters.  The API does not document its own bound; this one protects the stack. */
#define MAX_FILTER_DEPTH	32
#define MAX_SHOWN_VALUE		64	/* bytes of a wrong value in a message */

typedef struct Walker
{
	ContractStringHook hook;
	void	   *arg;
	StringInfoData path;
	int			depth;			/* levels of filters around the present one */
} Walker;

/* A check of an object that a table cannot express. */
typedef void (*ObjectCheck) (Walker *walker, JsonbContainer *value);

typedef struct ContractField
{
	const char *name;			/* NULL ends the table */
	int			types;
	bool		required;
	const char *const *values;	/* of a string that is an enum */
	const ContractType *type;	/* of the object, or of the array's elements */
	int			elements;		/* types of the array's elements; 0: not
								 * checked */
} ContractField;

struct ContractType
{
	const ContractField *fields;
	ObjectCheck check;			/* or NULL */
};

static void check_members(Walker *walker, const ContractType *type, JsonbContainer *value);
static void check_vectors(Walker *walker, JsonbContainer *value);
static void check_filters(Walker *walker, JsonbContainer *value);

#define OR_NULL(type) ((type) | CONTRACT_NULL)
#define END_OF_FIELDS {NULL, 0, false, NULL, NULL, 0}

/*
 * The contract
 */

static const char *const source_types[] = {"bucket", "collection", "taxonomy", "cluster", NULL};

static const char *const parent_types[] = {"bucket", "collection", NULL};

static const char *const blob_types[] = {
	"string", "number", "integer", "float", "boolean", "object", "array",
	"date", "datetime", "json", "file", "text", "image", "audio", "video",
	"pdf", "document", "spreadsheet", "presentation",
	"dense_vector", "sparse_vector", "int8_vector", NULL
};

static const char *const filter_operators[] = {
	"eq", "ne", "gt", "lt", "gte", "lte", "in", "nin", "contains",
	"starts_with", "ends_with", "regex", "exists", "is_null", "text", NULL
};

static const char *const sort_directions[] = {"asc", "desc", NULL};

static const ContractType blob_details = {
	(const ContractField[]) {
		{"filename", OR_NULL(CONTRACT_STRING), false, NULL, NULL, 0},
		{"size_bytes", OR_NULL(CONTRACT_INTEGER), false, NULL, NULL, 0},
		{"mime_type", OR_NULL(CONTRACT_STRING), false, NULL, NULL, 0},
		{"hash", OR_NULL(CONTRACT_STRING), false, NULL, NULL, 0},
		{"s3_object_key", OR_NULL(CONTRACT_STRING), false, NULL, NULL, 0},
		END_OF_FIELDS
	}, NULL
};

static const ContractType blob = {
	(const ContractField[]) {
		{"blob_id", CONTRACT_STRING, false, NULL, NULL, 0},
		{"property", CONTRACT_STRING, true, NULL, NULL, 0},
		{"key_prefix", OR_NULL(CONTRACT_STRING), false, NULL, NULL, 0},
		{"type", CONTRACT_STRING, true, blob_types, NULL, 0},
		{"data", CONTRACT_ANY, true, NULL, NULL, 0},
		{"metadata", OR_NULL(CONTRACT_OBJECT), false, NULL, NULL, 0},
		{"details", CONTRACT_OBJECT, false, NULL, &blob_details, 0},
		END_OF_FIELDS
	}, NULL
};

static const ContractType source_details = {
	(const ContractField[]) {
		{"type", CONTRACT_STRING, true, source_types, NULL, 0},
		{"source_id", CONTRACT_STRING, true, NULL, NULL, 0},
		{"object_id", CONTRACT_STRING, true, NULL, NULL, 0},
		{"feature_extractor_task_id", CONTRACT_STRING, true, NULL, NULL, 0},
		{"object_task_id", CONTRACT_STRING, true, NULL, NULL, 0},
		{"source_blobs", CONTRACT_ARRAY, false, NULL, &blob, CONTRACT_OBJECT},
		{"feature_extractor_id", CONTRACT_STRING, true, NULL, NULL, 0},
		{"batch_id", OR_NULL(CONTRACT_STRING), false, NULL, NULL, 0},
		{"batch_task_id", OR_NULL(CONTRACT_STRING), false, NULL, NULL, 0},
		END_OF_FIELDS
	}, NULL
};

static const ContractType vectors = {
	(const ContractField[]) {
		END_OF_FIELDS
	}, check_vectors
};

static const ContractType sparse_vector = {
	(const ContractField[]) {
		{"indices", CONTRACT_ARRAY, true, NULL, NULL, CONTRACT_NUMBER},
		{"values", CONTRACT_ARRAY, true, NULL, NULL, CONTRACT_NUMBER},
		END_OF_FIELDS
	}, NULL
};

static const ContractType feature = {
	(const ContractField[]) {
		{"feature_extractor_id", CONTRACT_STRING, true, NULL, NULL, 0},
		{"payload", CONTRACT_OBJECT, false, NULL, NULL, 0},
		{"vectors", OR_NULL(CONTRACT_OBJECT), false, NULL, &vectors, 0},
		END_OF_FIELDS
	}, NULL
};

static const ContractType lineage_step = {
	(const ContractField[]) {
		{"collection_id", CONTRACT_STRING, true, NULL, NULL, 0},
		{"feature_extractor_id", CONTRACT_STRING, true, NULL, NULL, 0},
		{"document_id", OR_NULL(CONTRACT_STRING), false, NULL, NULL, 0},
		{"timestamp", CONTRACT_STRING, false, NULL, NULL, 0},
		END_OF_FIELDS
	}, NULL
};

/* collection_id is required by the API, but added after the check. */
const ContractType contract_create = {
	(const ContractField[]) {
		{"collection_id", CONTRACT_STRING, false, NULL, NULL, 0},
		{"source_details", CONTRACT_ARRAY, false, NULL, &source_details, CONTRACT_OBJECT},
		{"metadata", OR_NULL(CONTRACT_OBJECT), false, NULL, NULL, 0},
		{"features", CONTRACT_ARRAY, false, NULL, &feature, CONTRACT_OBJECT},
		{"root_object_id", OR_NULL(CONTRACT_STRING), false, NULL, NULL, 0},
		{"root_bucket_id", OR_NULL(CONTRACT_STRING), false, NULL, NULL, 0},
		{"source_type", OR_NULL(CONTRACT_STRING), false, parent_types, NULL, 0},
		{"source_collection_id", OR_NULL(CONTRACT_STRING), false, NULL, NULL, 0},
		{"source_document_id", OR_NULL(CONTRACT_STRING), false, NULL, NULL, 0},
		{"source_object_id", OR_NULL(CONTRACT_STRING), false, NULL, NULL, 0},
		{"lineage_path", OR_NULL(CONTRACT_STRING), false, NULL, NULL, 0},
		{"lineage_chain", CONTRACT_ARRAY, false, NULL, &lineage_step, CONTRACT_OBJECT},
		{"document_schema_version", OR_NULL(CONTRACT_STRING), false, NULL, NULL, 0},
		END_OF_FIELDS
	}, NULL
};

const ContractType contract_update = {
	(const ContractField[]) {
		{"metadata", OR_NULL(CONTRACT_OBJECT), false, NULL, NULL, 0},
		END_OF_FIELDS
	}, NULL
};

static const ContractType sort_option = {
	(const ContractField[]) {
		{"field", CONTRACT_STRING, true, NULL, NULL, 0},
		{"direction", CONTRACT_STRING, false, sort_directions, NULL, 0},
		END_OF_FIELDS
	}, NULL
};

/*
 * Filters are an object with logical operators, or, in 2026-02's short form, with fields and the
 * values that they must equal.  An operand may also be a condition.
 */
static const ContractType filters = {
	(const ContractField[]) {
		{"case_sensitive", OR_NULL(CONTRACT_BOOLEAN), false, NULL, NULL, 0},
		END_OF_FIELDS
	}, check_filters
};

static const ContractType filter_condition = {
	(const ContractField[]) {
		{"field", CONTRACT_STRING, true, NULL, NULL, 0},
		{"operator", CONTRACT_STRING, false, filter_operators, NULL, 0},
		{"value", CONTRACT_ANY, true, NULL, NULL, 0},
		END_OF_FIELDS
	}, NULL
};

const ContractType contract_list = {
	(const ContractField[]) {
		{"filters", OR_NULL(CONTRACT_OBJECT), false, NULL, &filters, 0},
		{"sort", OR_NULL(CONTRACT_OBJECT), false, NULL, &sort_option, 0},
		{"search", OR_NULL(CONTRACT_STRING), false, NULL, NULL, 0},
		{"cursor", OR_NULL(CONTRACT_STRING), false, NULL, NULL, 0},
		{"return_url", OR_NULL(CONTRACT_BOOLEAN), false, NULL, NULL, 0},
		{"return_presigned_urls", OR_NULL(CONTRACT_BOOLEAN), false, NULL, NULL, 0},
		{"return_vectors", OR_NULL(CONTRACT_BOOLEAN), false, NULL, NULL, 0},
		END_OF_FIELDS
	}, NULL
};

/*
 * Types and paths
 */

static const struct
{
	int			type;
	const char *name;
}			type_names[] =

{
	{CONTRACT_STRING, "a string"},
	{CONTRACT_NUMBER, "a number"},
	{CONTRACT_INTEGER, "an integer"},
	{CONTRACT_BOOLEAN, "a boolean"},
	{CONTRACT_OBJECT, "an object"},
	{CONTRACT_ARRAY, "an array"},
	{CONTRACT_NULL, "null"},
};

/* Return a set of types in words: "a string, an object or null". */
static char *
describe_types(int types)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < (int) lengthof(type_names); i++)
	{
		if ((types & type_names[i].type) == 0)
			continue;
		types &= ~type_names[i].type;
		if (text.len > 0)
			appendStringInfoString(&text, types ? ", " : " or ");
		appendStringInfoString(&text, type_names[i].name);
	}
	return text.data;
}

static int
type_of(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return CONTRACT_NULL;
		case jbvString:
			return CONTRACT_STRING;
		case jbvNumeric:
			return CONTRACT_NUMBER;
		case jbvBool:
			return CONTRACT_BOOLEAN;
		case jbvBinary:
			return JsonContainerIsObject(value->val.binary.data) ?
				CONTRACT_OBJECT : CONTRACT_ARRAY;
		default:
			elog(ERROR, "unexpected jsonb value type %d", (int) value->type);
	}
}

static bool
is_integer(const JsonbValue *value)
{
	Datum		number = NumericGetDatum(value->val.numeric);

	return DatumGetBool(DirectFunctionCall2(numeric_eq, number,
											DirectFunctionCall2(numeric_trunc, number, Int32GetDatum(0))));
}

/* Append a step to the path; return what leave_path() needs to remove it. */
static int
enter_field(Walker *walker, const char *name, int len)
{
	int			end = walker->path.len;

	if (end > 0)
		appendStringInfoChar(&walker->path, '.');
	appendBinaryStringInfo(&walker->path, name, len);
	return end;
}

static int
enter_element(Walker *walker, int index)
{
	int			end = walker->path.len;

	appendStringInfo(&walker->path, "[%d]", index);
	return end;
}

static void
leave_path(Walker *walker, int end)
{
	walker->path.len = end;
	walker->path.data[end] = '\0';
}

pg_noreturn static void
raise_wrong_type(Walker *walker, int expected, int found)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s must be %s, not %s",
					walker->path.len > 0 ? walker->path.data : "document",
					describe_types(expected), describe_types(found))));
}

/*
 * Values
 */

pg_noreturn static void
raise_unknown_value(Walker *walker, const char *const *values, const char *str, int len)
{
	StringInfoData valid;
	int			shown = pg_mbcliplen(str, len, MAX_SHOWN_VALUE);

	initStringInfo(&valid);
	for (int i = 0; values[i]; i++)
		appendStringInfo(&valid, "%s%s", i > 0 ? ", " : "", values[i]);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s: \"%.*s%s\" is not one of the values the API knows",
					walker->path.data, shown, str, shown < len ? "..." : ""),
			 errhint("Valid values are: %s", valid.data)));
}

static void
check_enum(Walker *walker, const char *const *values, const char *str, int len)
{
	for (int i = 0; values[i]; i++)
		if (strlen(values[i]) == (size_t) len && memcmp(values[i], str, len) == 0)
			return;
	raise_unknown_value(walker, values, str, len);
}

/* Check that the types of a template's column are among those of the contract. */
static void
check_promised(Walker *walker, int promised, int expected)
{
	if (expected & CONTRACT_NUMBER)
		expected |= CONTRACT_INTEGER;
	if ((promised & expected) == 0)
		raise_wrong_type(walker, expected & ~((expected & CONTRACT_NUMBER) ? CONTRACT_INTEGER : 0),
						 promised);
}

/* Check a value's type; return whether it is a value, and not the name of a template's column. */
static bool
check_value_type(Walker *walker, const JsonbValue *value, int expected)
{
	int			found = type_of(value);

	if (found == CONTRACT_STRING && walker->hook)
	{
		int			promised = walker->hook(value->val.string.val, value->val.string.len,
											walker->path.data, expected, walker->arg);

		if (promised != 0)
		{
			check_promised(walker, promised, expected);
			return false;
		}
	}
	if (found == CONTRACT_NUMBER && (expected & CONTRACT_INTEGER) &&
		!(expected & CONTRACT_NUMBER) && is_integer(value))
		found = CONTRACT_INTEGER;
	if ((found & expected) == 0)
		raise_wrong_type(walker, expected, found);
	return true;
}

static void
check_elements(Walker *walker, JsonbContainer *array, int types, const ContractType *type)
{
	JsonbIterator *it = JsonbIteratorInit(array);
	JsonbIteratorToken token;
	JsonbValue	value;
	int			i = 0;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		int			end;

		if (token != WJB_ELEM)
			continue;
		CHECK_FOR_INTERRUPTS();
		end = enter_element(walker, i++);
		if (check_value_type(walker, &value, types) && type && value.type == jbvBinary)
			check_members(walker, type, value.val.binary.data);
		leave_path(walker, end);
	}
}

static void
check_field(Walker *walker, const ContractField *field, JsonbValue *value)
{
	if (!check_value_type(walker, value, field->types))
		return;
	if (value->type == jbvString && field->values)
		check_enum(walker, field->values, value->val.string.val, value->val.string.len);
	if (value->type != jbvBinary)
		return;
	if (JsonContainerIsArray(value->val.binary.data))
	{
		if (field->elements)
			check_elements(walker, value->val.binary.data, field->elements, field->type);
	}
	else if (field->type)
		check_members(walker, field->type, value->val.binary.data);
}

static void
check_members(Walker *walker, const ContractType *type, JsonbContainer *value)
{
	check_stack_depth();
	for (const ContractField *field = type->fields; field->name; field++)
	{
		int			end = enter_field(walker, field->name, strlen(field->name));
		JsonbValue *found = json_member(value, field->name);

		if (found)
			check_field(walker, field, found);
		else if (field->required)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s is required", walker->path.data)));
		leave_path(walker, end);
	}
	if (type->check)
		type->check(walker, value);
}

/*
 * Vectors: an object of named vectors, each an array of numbers, an array of such arrays, or a
 * sparse vector
 */

static void
check_sparse(Walker *walker, JsonbContainer *value)
{
	JsonbValue *indices = json_member(value, "indices");
	JsonbValue *values = json_member(value, "values");

	check_members(walker, &sparse_vector, value);
	if (indices->type == jbvBinary && values->type == jbvBinary &&
		JsonContainerSize(indices->val.binary.data) != JsonContainerSize(values->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must have as many values as indices", walker->path.data)));
}

/* Check an array of numbers, or of arrays of numbers, but not of both. */
static void
check_dense(Walker *walker, JsonbContainer *array)
{
	JsonbValue *first = JsonContainerSize(array) > 0 ?
		getIthJsonbValueFromContainer(array, 0) : NULL;
	int			n = JsonContainerSize(array);

	if (first == NULL || first->type != jbvBinary ||
		!JsonContainerIsArray(first->val.binary.data))
	{
		check_elements(walker, array, CONTRACT_NUMBER, NULL);
		return;
	}
	check_elements(walker, array, CONTRACT_ARRAY, NULL);
	for (int i = 0; i < n; i++)
	{
		JsonbValue *row = getIthJsonbValueFromContainer(array, i);
		int			end = enter_element(walker, i);

		if (row->type == jbvBinary)
			check_elements(walker, row->val.binary.data, CONTRACT_NUMBER, NULL);
		leave_path(walker, end);
	}
}

static void
check_vectors(Walker *walker, JsonbContainer *value)
{
	JsonbIterator *it = JsonbIteratorInit(value);
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	vector;

	if (json_member(value, "indices") && json_member(value, "values"))
	{
		check_sparse(walker, value);
		return;
	}
	while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		int			end;

		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&it, &vector, true);
		end = enter_field(walker, key.val.string.val, key.val.string.len);
		if (check_value_type(walker, &vector, CONTRACT_ARRAY | CONTRACT_OBJECT))
		{
			if (JsonContainerIsArray(vector.val.binary.data))
				check_dense(walker, vector.val.binary.data);
			else
				check_sparse(walker, vector.val.binary.data);
		}
		leave_path(walker, end);
	}
}

/*
 * Filters
 */

static void
check_operands(Walker *walker, JsonbContainer *operands)
{
	int			n = JsonContainerSize(operands);

	for (int i = 0; i < n; i++)
	{
		JsonbValue *operand = getIthJsonbValueFromContainer(operands, i);
		int			end = enter_element(walker, i);

		if (check_value_type(walker, operand, CONTRACT_OBJECT))
		{
			JsonbContainer *object = operand->val.binary.data;
			bool		condition = json_member(object, "field") || json_member(object, "operator");

			check_members(walker, condition ? &filter_condition : &filters, object);
		}
		leave_path(walker, end);
	}
}

static void
check_filters(Walker *walker, JsonbContainer *value)
{
	static const char *const operators[] = {"AND", "OR", "NOT"};

	if (++walker->depth > MAX_FILTER_DEPTH)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("filters must not be nested more than %d levels deep", MAX_FILTER_DEPTH)));
	if (json_member(value, "field") && json_member(value, "value"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s: a condition must stand within AND, OR or NOT", walker->path.data),
				 errhint("Write {\"AND\": [{\"field\": \"...\", \"operator\": \"eq\", \"value\": ...}]}.")));
	for (int i = 0; i < (int) lengthof(operators); i++)
	{
		JsonbValue *operands = json_member(value, operators[i]);
		int			end;

		if (operands == NULL)
			continue;
		end = enter_field(walker, operators[i], strlen(operators[i]));
		if (check_value_type(walker, operands, OR_NULL(CONTRACT_ARRAY)) &&
			operands->type == jbvBinary)
			check_operands(walker, operands->val.binary.data);
		leave_path(walker, end);
	}
	walker->depth--;
}

void
contract_check(const ContractType *type, Jsonb *value, ContractStringHook hook, void *arg)
{
	Walker		walker = {.hook = hook,.arg = arg};

	initStringInfo(&walker.path);
	if (JB_ROOT_IS_OBJECT(value))
		check_members(&walker, type, &value->root);
	else if (JB_ROOT_IS_SCALAR(value))
		raise_wrong_type(&walker, CONTRACT_OBJECT,
						 type_of(getIthJsonbValueFromContainer(&value->root, 0)));
	else
		raise_wrong_type(&walker, CONTRACT_OBJECT, CONTRACT_ARRAY);
	pfree(walker.path.data);
}

void
contract_check_text(const ContractType *type, const char *body)
{
	contract_check(type, DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(body))), NULL, NULL);
}

const char *
contract_field_name(const ContractType *type, int i)
{
	return type->fields[i].name;
}
