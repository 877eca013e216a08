/*-------------------------------------------------------------------------
 *
 * render.c
 *		Rendering of a row with a compiled template.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "catalog/pg_type.h"
#include "mirror/template.h"
#include "mirror/vector_check.h"
#include "remote/marker.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/timestamp.h"

/* Append a number; NaN and infinities become strings, as to_json() makes them. */
static void
append_json_number(StringInfo out, const char *text)
{
	if (strspn(text, "0123456789+-.eE") == strlen(text))
		appendStringInfoString(out, text);
	else
		escape_json(out, text);
}

static void
append_datetime(StringInfo out, Datum value, Oid type)
{
	char		buf[MAXDATELEN + 1];

	JsonEncodeDateTime(buf, value, type, NULL);
	appendStringInfoChar(out, '"');
	appendStringInfoString(out, buf);
	appendStringInfoChar(out, '"');
}

/* Append a value of COLUMN_NATIVE. */
static void
append_native(StringInfo out, TemplateColumn *column, Datum value)
{
	switch (column->type)
	{
		case BOOLOID:
			appendStringInfoString(out, DatumGetBool(value) ? "true" : "false");
			break;
		case INT2OID:
		case INT4OID:
		case INT8OID:
			appendStringInfoString(out, OutputFunctionCall(&column->output, value));
			break;
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			append_json_number(out, OutputFunctionCall(&column->output, value));
			break;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			append_datetime(out, value, column->type);
			break;
		case JSONBOID:
			{
				Jsonb	   *jsonb = DatumGetJsonbP(value);

				(void) JsonbToCString(out, &jsonb->root, VARSIZE(jsonb));
				break;
			}
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case NAMEOID:
		case UUIDOID:
			escape_json(out, OutputFunctionCall(&column->output, value));
			break;
		default:				/* a vector's output is a JSON array */
			appendStringInfoString(out, OutputFunctionCall(&column->output, value));
	}
}

/* Append a column's value as JSON, or raise that it must not be null. */
static void
append_column(StringInfo out, const TemplateStep *step, const TemplateRow *row)
{
	TemplateColumn *column = step->definition;
	Datum		value = row->values[step->column];

	if (row->nulls[step->column])
	{
		if (step->not_null)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null, and column \"%s\" is",
							step->path, column->name)));
		appendStringInfoString(out, "null");
	}
	else if (column->form == COLUMN_TEXT)
		escape_json(out, OutputFunctionCall(&column->output, value));
	else if (column->form == COLUMN_JSON)
	{
		text	   *json = DatumGetTextPP(value);

		appendBinaryStringInfo(out, VARDATA_ANY(json), VARSIZE_ANY_EXHDR(json));
	}
	else
		append_native(out, column, value);
}

/* Remove the marker's field from metadata: metadata that came from the API may hold another document's marker. */
static void
remove_marker(StringInfo json)
{
	Datum		document;

	if (strstr(json->data, MARKER_FIELD) == NULL && strstr(json->data, "\\u") == NULL)
		return;
	document = DirectFunctionCall1(jsonb_in, CStringGetDatum(json->data));
	if (!JB_ROOT_IS_OBJECT(DatumGetJsonbP(document)))
		return;
	document = DirectFunctionCall2(jsonb_delete, document, CStringGetTextDatum(MARKER_FIELD));
	resetStringInfo(json);
	(void) JsonbToCString(json, &DatumGetJsonbP(document)->root, VARSIZE(DatumGetPointer(document)));
}

/* Append the members of a column that holds an object; the marker stands before them. */
static void
append_metadata(StringInfo out, const TemplateStep *step, const TemplateRow *row)
{
	StringInfoData json;
	char	   *p;

	if (row->nulls[step->column])
		return;
	initStringInfo(&json);
	append_column(&json, step, row);
	remove_marker(&json);
	p = json.data + strspn(json.data, " \t\r\n");
	if (*p != '{')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("metadata must be an object, and column \"%s\" holds something else",
						step->definition->name)));
	p += 1 + strspn(p + 1, " \t\r\n");
	if (*p != '}')
	{
		appendStringInfoChar(out, ',');
		appendStringInfoString(out, p);
		while (out->data[out->len - 1] != '}')
			out->len--;
		out->data[--out->len] = '\0';
	}
	pfree(json.data);
}

static void
render_steps(const List *steps, const TemplateRow *row, StringInfo out)
{
	ListCell   *lc;

	foreach(lc, steps)
	{
		const TemplateStep *step = lfirst(lc);
		int			start;

		switch (step->kind)
		{
			case STEP_TEXT:
				appendBinaryStringInfo(out, step->text, step->text_len);
				break;
			case STEP_COLUMN:
				start = out->len;
				append_column(out, step, row);
				if (!row->nulls[step->column])
					vector_check(step, out->data + start);
				break;
			case STEP_METADATA:
				append_metadata(out, step, row);
				break;
			case STEP_KEY:
				escape_json(out, row->key);
				break;
			case STEP_MARKER:
				escape_json(out, row->marker);
				break;
		}
	}
}

/* Check whether a feature's vector is null.  The API would refuse the whole document because of it. */
static bool
lacks_vector(const List *steps, const TemplateRow *row)
{
	ListCell   *lc;

	foreach(lc, steps)
	{
		const TemplateStep *step = lfirst(lc);

		if (step->kind == STEP_COLUMN && row->nulls[step->column] && step->vector == VECTOR_NUMBERS)
			return true;
	}
	return false;
}

static void
render_features(const Template *template, const TemplateRow *row, StringInfo out)
{
	ListCell   *lc;
	bool		first = true;

	appendStringInfoChar(out, '[');
	foreach(lc, template->features)
	{
		if (lacks_vector(lfirst(lc), row))
			continue;
		if (!first)
			appendStringInfoChar(out, ',');
		first = false;
		render_steps(lfirst(lc), row, out);
	}
	appendStringInfoChar(out, ']');
}

void
template_render(const Template *template, const TemplateRow *row,
				StringInfo content, StringInfo features)
{
	render_steps(template->content, row, content);
	if (template->features_are_column)
		render_steps(linitial(template->features), row, features);
	else if (template->has_features)
		render_features(template, row, features);
}
