/*
 * filter.c
 *	  Filters: compiled from the request, then asked about documents.
 *
 * A filter sees a document as an answer shows it, unless a trait has metadata
 * elsewhere, so whatever is in an answer can be filtered on.
 */
#define _GNU_SOURCE
#include "filter.h"

#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "filter_parts.h"
#include "options.h"
#include "traits.h"

#define MAX_NESTING 20

static const char *const operator_names[] = {
	"eq", "ne", "gt", "lt", "gte", "lte", "in", "nin", "contains", "starts_with",
	"ends_with", "regex", "exists", "is_null", "text", NULL
};

typedef struct Compiler
{
	Checker    *checker;
	const char *refusal;		/* why a valid filter cannot be had, or NULL */
	int			nesting;
} Compiler;

static Filter *compile_logical(Compiler *compiler, const JsonNode *node, bool case_sensitive);

static Filter *
make(FilterKind kind, bool case_sensitive)
{
	Filter	   *filter = allocate(sizeof(Filter));

	filter->kind = kind;
	filter->case_sensitive = case_sensitive;
	return filter;
}

static void
append(Filter *parent, Filter *child)
{
	Filter	  **at = &parent->children;

	while (*at)
		at = &(*at)->next;
	*at = child;
}

void
filter_free(Filter *filter)
{
	while (filter)
	{
		Filter	   *next = filter->next;

		filter_free(filter->children);
		if (filter->regex)
			regfree(filter->regex);
		free(filter->regex);
		free(filter->field);
		free(filter);
		filter = next;
	}
}

static void
compile_regex(Compiler *compiler, Filter *condition)
{
	char	   *pattern = json_string(condition->value);
	int			flags = REG_EXTENDED | REG_NOSUB | (condition->case_sensitive ? 0 : REG_ICASE);

	condition->regex = allocate(sizeof(regex_t));
	if (!pattern || regcomp(condition->regex, pattern, flags) != 0)
	{
		free(condition->regex);
		condition->regex = NULL;
		compiler->refusal = "Invalid regular expression in filters";
	}
	free(pattern);
}

/* Whether the operator can do anything with the value; if not, refuse it. */
static void
check_value(Compiler *compiler, Filter *condition)
{
	const JsonNode *value = condition->value;

	if (value->kind == JSON_OBJECT && json_is(json_get(value, "type"), "dynamic"))
		compiler->refusal = "Dynamic values are resolved in retrievers only";
	else if ((condition->operator == OP_IN || condition->operator == OP_NIN) && value->kind != JSON_ARRAY)
		compiler->refusal = "Filter operators in and nin need a list";
	else if (condition->operator == OP_REGEX)
		compile_regex(compiler, condition);
}

static bool
compile_operator(Compiler *compiler, const JsonNode *node, Operator *operator)
{
	static const Rule rule = {.types = T_STRING,.choices = operator_names};
	const JsonNode *value = json_get(node, "operator");

	*operator = OP_EQ;
	if (!value)
		return true;
	checker_enter(compiler->checker, "operator");
	checker_value(compiler->checker, &rule, value);
	checker_leave(compiler->checker);
	for (int i = 0; operator_names[i]; i++)
		if (json_is(value, operator_names[i]))
		{
			*operator = i;
			return true;
		}
	return false;
}

static Filter *
compile_condition(Compiler *compiler, const JsonNode *node, bool case_sensitive)
{
	static const Rule members[] = {
		{.name = "field",.types = T_STRING,.required = true},
		{.name = "value",.types = T_ANY,.required = true},
		{0}
	};
	static const Rule rule = {.types = T_OBJECT,.members = members};
	size_t		before = compiler->checker->errors.length;
	Filter	   *condition = make(FILTER_CONDITION, case_sensitive);

	checker_value(compiler->checker, &rule, node);
	if (!compile_operator(compiler, node, &condition->operator) ||
		compiler->checker->errors.length > before)
		return condition;
	condition->field = json_string(json_get(node, "field"));
	condition->value = json_get(node, "value");
	check_value(compiler, condition);
	return condition;
}

/* Since 2026-02: {"metadata.title": "value"} is equality. */
static Filter *
compile_shorthand(Compiler *compiler, const JsonNode *key, bool case_sensitive)
{
	Filter	   *condition = make(FILTER_CONDITION, case_sensitive);

	condition->field = json_string(key);
	condition->value = &key[1];
	condition->operator = key[1].kind == JSON_ARRAY ? OP_IN : OP_EQ;
	check_value(compiler, condition);
	return condition;
}

static bool
is_logical(const JsonNode *node)
{
	return json_get(node, "AND") || json_get(node, "OR") || json_get(node, "NOT");
}

static Filter *
compile_list(Compiler *compiler, FilterKind kind, const JsonNode *list, bool case_sensitive)
{
	static const Rule rule = {.types = T_ARRAY | T_NULL};
	Filter	   *filter = make(kind, case_sensitive);
	long		index = 0;

	checker_value(compiler->checker, &rule, list);
	if (list->kind != JSON_ARRAY)
		return filter;
	JSON_ITEMS(list, item)
	{
		bool		condition = json_get(item, "field") || json_get(item, "value");

		checker_enter_index(compiler->checker, index++);
		if (options.contract == CONTRACT_2025_09)
			condition = !is_logical(item) && !(item->kind == JSON_OBJECT && item->count == 0);
		append(filter, condition ? compile_condition(compiler, item, case_sensitive)
			   : compile_logical(compiler, item, case_sensitive));
		checker_leave(compiler->checker);
	}
	return filter;
}

static void
compile_member(Compiler *compiler, Filter *parent, const JsonNode *key)
{
	static const char *const names[] = {"AND", "OR", "NOT"};
	int			kind = 0;

	while (kind < 3 && !json_is(key, names[kind]))
		kind++;
	checker_enter_key(compiler->checker, key);
	if (kind < 3)
		append(parent, compile_list(compiler, (FilterKind) kind, &key[1], parent->case_sensitive));
	else if (options.contract >= CONTRACT_2026_02)
		append(parent, compile_shorthand(compiler, key, parent->case_sensitive));
	else
		checker_error(compiler->checker, "extra_forbidden", "Extra inputs are not permitted");
	checker_leave(compiler->checker);
}

static Filter *
compile_logical(Compiler *compiler, const JsonNode *node, bool case_sensitive)
{
	static const Rule members[] = {{.name = "case_sensitive",.types = T_BOOLEAN | T_NULL}, {0}};
	static const Rule rule = {.types = T_OBJECT,.members = members};
	const JsonNode *sensitive = json_get(node, "case_sensitive");
	Filter	   *filter;

	checker_value(compiler->checker, &rule, node);
	if (sensitive && sensitive->kind != JSON_NULL && trait(TRAIT_FILTER_CASE) == CASE_FOLDED)
		case_sensitive = sensitive->kind == JSON_TRUE;
	filter = make(FILTER_ALL, case_sensitive);
	if (node->kind != JSON_OBJECT)
		return filter;
	if (++compiler->nesting > MAX_NESTING)
		compiler->refusal = "Filters are nested too deeply";
	else
		JSON_MEMBERS(node, key)
		{
			if (!json_is(key, "case_sensitive"))
				compile_member(compiler, filter, key);
		}
	compiler->nesting--;
	return filter;
}

/*
 * Mistakes against the contract go to the checker; a filter that is valid but
 * cannot be had sets the refusal, for a 400.  The filter points into the node.
 */
Filter *
filter_compile(Checker *checker, const JsonNode *filters, const char **refusal)
{
	Compiler	compiler = {.checker = checker};
	Filter	   *filter = compile_logical(&compiler, filters, trait(TRAIT_FILTER_CASE) == CASE_EXACT);

	*refusal = compiler.refusal;
	return filter;
}

bool
request_filter(Request *request, const JsonNode *filters, Filter **filter)
{
	static Checker checker;
	const char *refusal;

	*filter = NULL;
	if (!filters || filters->kind == JSON_NULL)
		return true;
	if (trait(TRAIT_FILTER))
	{
		answer_error(request, 400, NULL, "Filters are not supported for this collection");
		return false;
	}
	checker_begin(&checker, "body");
	checker_enter(&checker, "filters");
	*filter = filter_compile(&checker, filters, &refusal);
	if (!checker_answer(&checker, request) && refusal)
		answer_error(request, 400, NULL, "%s", refusal);
	if (!request->response)
		return true;
	filter_free(*filter);
	*filter = NULL;
	return false;
}

/* The member whose name is the whole path, or leads to it; NULL if there is none. */
const JsonNode *
path_first(const JsonNode *root, const char *path)
{
	const JsonNode *found = json_get(root, path);
	const char *dot = path;

	while (!found && (dot = strchr(dot, '.')))
	{
		const JsonNode *inner = json_get_bytes(root, path, dot - path);

		dot++;
		if (inner)
			found = path_first(inner, dot);
	}
	return found;
}

/* The value's characters, or its JSON; the caller frees them. */
Text
text_of(const JsonNode *node, bool case_sensitive)
{
	Buffer		buffer = {0};

	if (node->kind == JSON_STRING)
		json_decode(node, &buffer);
	else
		buffer_add(&buffer, node->text, node->length);
	buffer_terminate(&buffer);
	if (!case_sensitive)
		for (size_t i = 0; i < buffer.length; i++)
			if (buffer.data[i] >= 'A' && buffer.data[i] <= 'Z')
				buffer.data[i] += 32;
	return (Text) {buffer.data, buffer.length};
}

/* Less than, equal to or greater than 0; 2 where they do not compare. */
static int
compare(const JsonNode *left, const JsonNode *right, bool case_sensitive)
{
	Text		a,
				b;
	int			order;

	if (left->kind == JSON_NUMBER && right->kind == JSON_NUMBER)
	{
		double		x = json_number(left);
		double		y = json_number(right);

		return (x > y) - (x < y);
	}
	if (left->kind != right->kind)
		return 2;
	a = text_of(left, case_sensitive);
	b = text_of(right, case_sensitive);
	order = memcmp(a.bytes, b.bytes, (a.length < b.length ? a.length : b.length) + 1);
	free(a.bytes);
	free(b.bytes);
	return (order > 0) - (order < 0);
}

/* Whether all words of the sought text are in the other one. */
static bool
has_words(char *text, char *words)
{
	char	   *rest = words;
	char	   *word;

	while ((word = strsep(&rest, " \t\n")))
		if (*word && !strstr(text, word))
			return false;
	return true;
}

static bool
text_matches(const Filter *c, const JsonNode *node)
{
	Text		text;
	Text		sought;
	bool		found;

	if (node->kind != JSON_STRING || (c->value->kind == JSON_OBJECT || c->value->kind == JSON_ARRAY))
		return false;
	text = text_of(node, c->operator == OP_REGEX || (c->case_sensitive && c->operator != OP_TEXT));
	sought = text_of(c->value, c->case_sensitive && c->operator != OP_TEXT);
	if (c->operator == OP_REGEX)
		found = c->regex && regexec(c->regex, text.bytes, 0, NULL, 0) == 0;
	else if (c->operator == OP_TEXT)
		found = has_words(text.bytes, sought.bytes);
	else if (c->operator == OP_CONTAINS)
		found = memmem(text.bytes, text.length, sought.bytes, sought.length) != NULL;
	else if (text.length < sought.length)
		found = false;
	else
		found = memcmp(text.bytes + (c->operator == OP_ENDS_WITH ? text.length - sought.length : 0),
					   sought.bytes, sought.length) == 0;
	free(text.bytes);
	free(sought.bytes);
	return found;
}

static bool
equals_any(const Filter *c, const JsonNode *node)
{
	JSON_ITEMS(c->value, item)
	{
		if (compare(node, item, c->case_sensitive) == 0)
			return true;
	}
	return false;
}

/* Whether one value, which is there, fulfils the condition. */
static bool
value_matches(const Filter *c, const JsonNode *node)
{
	int			order;

	switch (c->operator)
	{
		case OP_EQ:
		case OP_NE:
			return compare(node, c->value, c->case_sensitive) == 0;
		case OP_IN:
		case OP_NIN:
			return equals_any(c, node);
		case OP_CONTAINS:
			if (compare(node, c->value, c->case_sensitive) == 0)
				return true;
			return text_matches(c, node);
		case OP_STARTS_WITH:
		case OP_ENDS_WITH:
		case OP_REGEX:
		case OP_TEXT:
			return text_matches(c, node);
		default:
			order = compare(node, c->value, c->case_sensitive);
			if (order == 2)
				return false;
			return c->operator == OP_GT ? order > 0 : c->operator == OP_GTE ? order >= 0 :
				c->operator == OP_LT ? order < 0 : order <= 0;
	}
}

/* The value itself or, of a list, any item. */
static bool
any_matches(const Filter *c, const JsonNode *node)
{
	if (!node)
		return false;
	if (value_matches(c, node))
		return true;
	if (node->kind == JSON_ARRAY)
		JSON_ITEMS(node, item)
	{
		if (value_matches(c, item))
			return true;
	}
	return false;
}

static bool
condition_matches(const Filter *c, const JsonNode *rendered)
{
	const JsonNode *node = path_first(rendered, c->field);
	bool		wanted = c->value->kind != JSON_FALSE;

	switch (c->operator)
	{
		case OP_EXISTS:
			return (node != NULL) == wanted;
		case OP_IS_NULL:
			return (!node || node->kind == JSON_NULL) == wanted;
		case OP_NE:
		case OP_NIN:
			return !any_matches(c, node);
		default:
			return any_matches(c, node);
	}
}

/* Whether the document, as an answer shows it, is meant by the filter. */
bool
filter_matches(const Filter *filter, const JsonNode *rendered)
{
	if (filter->kind == FILTER_CONDITION)
		return condition_matches(filter, rendered);
	for (const Filter *child = filter->children; child; child = child->next)
	{
		bool		matches = filter_matches(child, rendered);

		if (filter->kind == FILTER_ANY && matches)
			return true;
		if (filter->kind == FILTER_ALL && !matches)
			return false;
		if (filter->kind == FILTER_NONE && matches)
			return false;
	}
	return filter->kind != FILTER_ANY || !filter->children;
}
