/*
 * validate.c
 *	  Checking values against tables of rules.  Types and words of the mistakes
 *	  are those of pydantic, whose form the API's 422s have.
 */
#include "validate.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "answer.h"
#include "traits.h"

void
checker_begin(Checker *checker, const char *where)
{
	checker->errors.length = 0;
	checker->depth = 0;
	checker_enter(checker, where);
}

static void
enter(Checker *checker, Location location)
{
	if (checker->depth < MAX_LOCATION)
		checker->location[checker->depth] = location;
	checker->depth++;
}

void
checker_enter(Checker *checker, const char *name)
{
	enter(checker, (Location) {.text = name,.length = strlen(name)});
}

void
checker_enter_key(Checker *checker, const JsonNode *key)
{
	enter(checker, (Location) {.text = key->text,.length = key->length,.quoted = true});
}

void
checker_enter_index(Checker *checker, long index)
{
	enter(checker, (Location) {.index = index});
}

void
checker_leave(Checker *checker)
{
	checker->depth--;
}

static void
add_location(Checker *checker)
{
	int			depth = checker->depth < MAX_LOCATION ? checker->depth : MAX_LOCATION;

	for (int i = 0; i < depth; i++)
	{
		const Location *l = &checker->location[i];

		if (i)
			buffer_char(&checker->errors, ',');
		if (!l->text)
			buffer_printf(&checker->errors, "%ld", l->index);
		else if (l->quoted)
			buffer_add(&checker->errors, l->text, l->length);
		else
			buffer_json(&checker->errors, l->text, l->length);
	}
}

/* Notes a mistake at the place that is being looked at. */
void
checker_error(Checker *checker, const char *type, const char *format,...)
{
	Buffer	   *errors = &checker->errors;
	char		message[512];
	va_list		arguments;

	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	if (errors->length)
		buffer_char(errors, ',');
	buffer_printf(errors, "{\"type\":\"%s\",\"%s\":[", type, trait(TRAIT_VALIDATION_FORM) ? "location" : "loc");
	add_location(checker);
	buffer_printf(errors, "],\"%s\":", trait(TRAIT_VALIDATION_FORM) ? "message" : "msg");
	buffer_json_text(errors, message);
	buffer_char(errors, '}');
}

/* Answers 422 and returns true where there was a mistake. */
bool
checker_answer(Checker *checker, Request *request)
{
	Buffer		body = {0};

	if (!checker->errors.length)
		return false;
	if (trait(TRAIT_VALIDATION_FORM))
	{
		buffer_literal(&body, "{\"validation_errors\":[");
		buffer_add(&body, checker->errors.data, checker->errors.length);
		buffer_literal(&body, "]}");
		answer_error(request, 422, buffer_terminate(&body), "Request validation failed");
		buffer_free(&body);
		return true;
	}
	buffer_literal(&body, "{\"detail\":[");
	buffer_add(&body, checker->errors.data, checker->errors.length);
	buffer_literal(&body, "]}");
	answer_json(request, 422, &body);
	return true;
}

static unsigned
type_of(const JsonNode *value)
{
	switch (value->kind)
	{
		case JSON_NULL: return T_NULL;
		case JSON_FALSE:
		case JSON_TRUE: return T_BOOLEAN;
		case JSON_NUMBER: return value->integer ? T_INTEGER | T_NUMBER : T_NUMBER;
		case JSON_STRING: return T_STRING;
		case JSON_ARRAY: return T_ARRAY;
		default: return T_OBJECT;
	}
}

static void
wrong_type(Checker *checker, const Rule *rule, unsigned actual)
{
	static const struct
	{
		unsigned	type;
		const char *error;
		const char *message;
	}			names[] = {
		{T_STRING, "string_type", "Input should be a valid string"},
		{T_INTEGER, "int_type", "Input should be a valid integer"},
		{T_NUMBER, "float_type", "Input should be a valid number"},
		{T_BOOLEAN, "bool_type", "Input should be a valid boolean"},
		{T_ARRAY, "list_type", "Input should be a valid list"},
		{T_OBJECT, "dict_type", "Input should be a valid dictionary"},
		{T_NULL, "none_required", "Input should be None"},
	};

	if (rule->members && rule->types & T_OBJECT)
	{
		checker_error(checker, "model_attributes_type",
					  "Input should be a valid dictionary or object to extract fields from");
		return;
	}
	if (rule->types & T_INTEGER && actual == T_NUMBER)
	{
		checker_error(checker, "int_from_float",
					  "Input should be a valid integer, got a number with a fractional part");
		return;
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (rule->types & names[i].type)
		{
			checker_error(checker, names[i].error, "%s", names[i].message);
			return;
		}
}

static void
check_choice(Checker *checker, const char *const *choices, const JsonNode *value)
{
	char		list[512] = "";
	size_t		used = 0;

	for (int i = 0; choices[i]; i++)
		if (json_is(value, choices[i]))
			return;
	for (int i = 0; choices[i] && used < sizeof(list) - 64; i++)
		used += snprintf(list + used, sizeof(list) - used, "%s'%s'",
						 i == 0 ? "" : choices[i + 1] ? ", " : " or ", choices[i]);
	checker_error(checker, "enum", "Input should be %s", list);
}

static void
check_length(Checker *checker, const Rule *rule, long length, bool string)
{
	const char *what = string ? "String" : "List";
	const char *of = string ? "characters" : "items";

	if (length < rule->min_length)
		checker_error(checker, string ? "string_too_short" : "too_short",
					  "%s should have at least %ld %s", what, rule->min_length, of);
	if (rule->max_length && length > rule->max_length)
		checker_error(checker, string ? "string_too_long" : "too_long",
					  "%s should have at most %ld %s", what, rule->max_length, of);
}

static void
check_members(Checker *checker, const Rule *members, const JsonNode *object)
{
	for (const Rule *member = members; member->name; member++)
	{
		const JsonNode *value = json_get(object, member->name);

		if (!value && !member->required)
			continue;
		checker_enter(checker, member->name);
		if (value)
			checker_value(checker, member, value);
		else
			checker_error(checker, "missing", "Field required");
		checker_leave(checker);
	}
}

static bool
is_member(const Rule *members, const JsonNode *key)
{
	while (members->name && !json_is(key, members->name))
		members++;
	return members->name;
}

/* Note each key that the members do not declare, with those that they do. */
static void
check_unknown_keys(Checker *checker, const Rule *members, const JsonNode *object)
{
	char		list[400] = "";
	size_t		used = 0;

	for (const Rule *member = members; member->name && used < sizeof(list) - 64; member++)
		used += snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "", member->name);
	JSON_MEMBERS(object, key)
	{
		if (is_member(members, key))
			continue;
		checker_enter_key(checker, key);
		checker_error(checker, "extra_forbidden", "Extra inputs are not permitted. Accepted keys: %s", list);
		checker_leave(checker);
	}
}

static void
check_items(Checker *checker, const Rule *rule, const JsonNode *array)
{
	long		index = 0;

	JSON_ITEMS(array, item)
	{
		checker_enter_index(checker, index++);
		checker_value(checker, rule, item);
		checker_leave(checker);
	}
}

/* Notes what is wrong with the value, which stands at the checker's place. */
void
checker_value(Checker *checker, const Rule *rule, const JsonNode *value)
{
	unsigned	type = type_of(value);

	if (!(type & rule->types))
	{
		wrong_type(checker, rule, type);
		return;
	}
	if (rule->choices && type == T_STRING)
		check_choice(checker, rule->choices, value);
	if (type == T_STRING || type == T_ARRAY)
		check_length(checker, rule, type == T_STRING ? value->length - 2 : value->count, type == T_STRING);
	if (rule->unsigned_integer && type & T_INTEGER && *value->text == '-')
		checker_error(checker, "greater_than_equal", "Input should be greater than or equal to 0");
	if (rule->members && type == T_OBJECT)
		check_members(checker, rule->members, value);
	if (rule->closed && type == T_OBJECT && trait(TRAIT_UNKNOWN_KEYS))
		check_unknown_keys(checker, rule->members, value);
	if (rule->items && type == T_ARRAY)
		check_items(checker, rule->items, value);
	if (rule->check && type != T_NULL)
		rule->check(checker, value);
}

static bool
is_json_type(const char *content_type)
{
	size_t		length = content_type ? strcspn(content_type, "; ") : 0;

	if (!content_type)
		return true;
	return (length == 16 && strncasecmp(content_type, "application/json", 16) == 0) ||
		(length > 5 && strncasecmp(content_type + length - 5, "+json", 5) == 0);
}

static void
invalid_json(Checker *checker, Request *request)
{
	const JsonDocument *mistake = request_json_mistake();

	checker_enter_index(checker, mistake->error_at);
	checker_error(checker, "json_invalid", "JSON decode error: %s", mistake->error);
	checker_answer(checker, request);
}

/*
 * The body, which obeys the rule; or NULL, and the request is answered.
 */
const JsonNode *
request_checked(Request *request, const Rule *rule)
{
	static Checker checker;
	const JsonNode *root;

	checker_begin(&checker, "body");
	if (request->too_large)
	{
		answer_error(request, 413, NULL, "Request body is larger than %d bytes", MAX_BODY);
		return NULL;
	}
	if (!request->body.length)
	{
		checker_error(&checker, "missing", "Field required");
		checker_answer(&checker, request);
		return NULL;
	}
	root = request_json(request);
	if (!is_json_type(request->content_type))
		wrong_type(&checker, rule, T_STRING);
	else if (!root)
	{
		invalid_json(&checker, request);
		return NULL;
	}
	else
		checker_value(&checker, rule, root);
	return checker_answer(&checker, request) ? NULL : root;
}

static void
parameter_error(Checker *checker, const char *name, const char *type, const char *message, long bound)
{
	checker_enter(checker, name);
	checker_error(checker, type, message, bound);
	checker_leave(checker);
}

/* An integer of the query string; max 0 is no upper bound. */
long
request_integer(Request *request, Checker *checker, const char *name, long fallback, long min, long max)
{
	Buffer		text = {0};
	char	   *end;
	long		value = fallback;

	if (request_parameter(request, name, &text))
	{
		errno = 0;
		value = strtol(buffer_terminate(&text), &end, 10);
		if (!text.length || *end || errno)
			parameter_error(checker, name, "int_parsing",
							"Input should be a valid integer, unable to parse string as an integer", 0);
		else if (value < min)
			parameter_error(checker, name, "greater_than_equal",
							"Input should be greater than or equal to %ld", min);
		else if (max && value > max)
			parameter_error(checker, name, "less_than_equal",
							"Input should be less than or equal to %ld", max);
	}
	buffer_free(&text);
	return value;
}

/* A boolean of the query string, false by default. */
bool
request_flag(Request *request, Checker *checker, const char *name)
{
	static const char *const words[] = {"false", "true", "0", "1", "off", "on", "f", "t", "n", "y", "no", "yes"};
	Buffer		text = {0};
	size_t		i = 0;

	if (request_parameter(request, name, &text))
	{
		while (i < 12 && strcasecmp(buffer_terminate(&text), words[i]) != 0)
			i++;
		if (i == 12)
			parameter_error(checker, name, "bool_parsing",
							"Input should be a valid boolean, unable to interpret input", 0);
	}
	buffer_free(&text);
	return i < 12 && i % 2;
}
