/*-------------------------------------------------------------------------
 *
 * fitting.c
 *		JSON of which the database cannot hold every value.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/scan.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "remote/fitting.h"
#include "remote/response.h"

typedef struct Fitting
{
	StringInfoData out;			/* JSON in UTF-8 */
	int			nleft_out;
	char	   *error;			/* about the first value that was left out */
} Fitting;

static bool append_fitting(Fitting *fitting, const JsonText *value);

/* Check whether jsonb can hold a scalar or a name; if not, count it. */
static bool
scalar_fits(Fitting *fitting, const JsonText *value)
{
	char	   *error;
	Jsonb	   *json = response_parse_utf8(value->start, value->end - value->start, &error);

	if (json)
	{
		pfree(json);
		return true;
	}
	if (fitting->nleft_out++ == 0)
		fitting->error = error;
	return false;
}

/* Append a member of an object, or nothing. */
static void
append_member(Fitting *fitting, const JsonText *name, const JsonText *value)
{
	StringInfo	out = &fitting->out;
	int			start = out->len;

	if (!scalar_fits(fitting, name))
		return;
	if (out->data[start - 1] != '{')
		appendStringInfoChar(out, ',');
	appendBinaryStringInfo(out, name->start, name->end - name->start);
	appendStringInfoChar(out, ':');
	if (append_fitting(fitting, value))
		return;
	out->len = start;
	out->data[start] = '\0';
}

static void
append_items(Fitting *fitting, JsonItems *items)
{
	StringInfo	out = &fitting->out;

	appendStringInfoChar(out, items->named ? '{' : '[');
	while (scan_next(items))
	{
		if (items->named)
		{
			append_member(fitting, &items->name, &items->value);
			continue;
		}
		if (out->data[out->len - 1] != '[')
			appendStringInfoChar(out, ',');
		if (!append_fitting(fitting, &items->value))
			appendStringInfoString(out, "null");
	}
	appendStringInfoChar(out, items->named ? '}' : ']');
}

/* Append a value without what does not fit; returns false, and appends nothing, if it is a scalar that does not. */
static bool
append_fitting(Fitting *fitting, const JsonText *value)
{
	JsonItems	items;

	CHECK_FOR_INTERRUPTS();
	check_stack_depth();
	if (scan_items(value->start, &items))
	{
		append_items(fitting, &items);
		return true;
	}
	if (!scalar_fits(fitting, value))
		return false;
	appendBinaryStringInfo(&fitting->out, value->start, value->end - value->start);
	return true;
}

Jsonb *
fitting_parse(const char *text, size_t len, int *nleft_out, char **error)
{
	Jsonb	   *json = response_parse_utf8(text, len, error);
	Fitting		fitting = {0};
	JsonText	value = {.start = text,.end = text + len};
	char	   *second;

	*nleft_out = 0;
	if (json)
		return json;
	while (*value.start == ' ' || *value.start == '\t' || *value.start == '\r' || *value.start == '\n')
		value.start++;
	initStringInfo(&fitting.out);
	if (append_fitting(&fitting, &value))
		json = response_parse_utf8(fitting.out.data, fitting.out.len, &second);
	*nleft_out = fitting.nleft_out;
	return json;
}
