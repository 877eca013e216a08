/*-------------------------------------------------------------------------
 *
 * vector_check.c
 *		Vectors consist of numbers: NaN, infinities and null have no place in them.
 *
 * JSON has no NaN and no infinity: to_json() makes strings of them, which the API refuses
 * in a vector.  A row that has one must fail before anything is sent.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/scan.h"
#include "mb/pg_wchar.h"
#include "mirror/vector_check.h"
#include "miscadmin.h"

/* All characters of arrays of numbers. */
#define NUMBERS		"[]0123456789+-.eE, \t\r\n"

/* Bytes of a wrong value in the message. */
#define MAX_SHOWN	40

VectorPart
vector_part(const char *path)
{
	const char *rest;

	if (strncmp(path, "features[", 9) != 0)
		return VECTOR_NONE;
	rest = strchr(path, ']') + 1;
	if (*rest == '\0')
		return VECTOR_FEATURES;
	if (strncmp(rest, ".vectors", 8) == 0 && strchr(".[", rest[8])) /* finds the NUL, too */
		return VECTOR_NUMBERS;
	return VECTOR_NONE;
}

pg_noreturn static void
raise_no_number(const TemplateStep *step, const char *start, int len)
{
	int			shown = pg_mbcliplen(start, len, MAX_SHOWN);

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s must have only numbers as vectors, and column \"%s\" has %.*s%s",
					step->path, step->definition->name, shown, start, shown < len ? "..." : "")));
}

/* Check a JSON value of which all scalars must be numbers. */
static void
check_numbers(const TemplateStep *step, const JsonText *value)
{
	JsonItems	items;

	check_stack_depth();
	if (*value->start != '-' && !(*value->start >= '0' && *value->start <= '9') && !scan_items(value->start, &items))
		raise_no_number(step, value->start, value->end - value->start);
	if (*value->start != '[' && *value->start != '{')
		return;
	while (scan_next(&items))
		check_numbers(step, &items.value);
}

/* Check the vectors of a feature. */
static void
check_feature(const TemplateStep *step, const JsonText *feature)
{
	JsonItems	items;

	if (!scan_items(feature->start, &items) || !items.named)
		return;
	while (scan_next(&items))
	{
		if (scan_string_is(&items.name, "vectors"))
			check_numbers(step, &items.value);
	}
}

/* Check the vectors of a feature, or of an array of features. */
static void
check_features(const TemplateStep *step, const JsonText *value)
{
	JsonItems	items;

	if (!scan_items(value->start, &items) || items.named)
	{
		check_feature(step, value);
		return;
	}
	while (scan_next(&items))
		check_feature(step, &items.value);
}

void
vector_check(const TemplateStep *step, const char *json)
{
	JsonText	value;
	bool		numbers = step->vector == VECTOR_NUMBERS;

	if (step->vector == VECTOR_NONE || (numbers && json[strspn(json, NUMBERS)] == '\0'))
		return;
	if (!scan_text(json, strlen(json), &value))
		elog(ERROR, "column \"%s\" was rendered as something that is not JSON", step->definition->name);
	if (numbers)
		check_numbers(step, &value);
	else
		check_features(step, &value);
}
