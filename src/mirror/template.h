/*-------------------------------------------------------------------------
 *
 * template.h
 *		A document template, compiled once, rendered once a row.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_TEMPLATE_H
#define MIXPEEK_TEMPLATE_H

#include "access/tupdesc.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "nodes/bitmapset.h"
#include "utils/jsonb.h"

/* In which form the row's query hands a column over. */
typedef enum ColumnForm
{
	COLUMN_NATIVE,				/* as it is; rendered here */
	COLUMN_JSON,				/* through to_json(); appended as it is */
	COLUMN_TEXT					/* as it is; sent as a JSON string of its text */
} ColumnForm;

typedef struct TemplateColumn
{
	AttrNumber	attnum;
	char	   *name;
	ColumnForm	form;
	Oid			type;			/* base type of a domain */
	FmgrInfo	output;			/* COLUMN_NATIVE and COLUMN_TEXT only */
} TemplateColumn;

typedef enum StepKind
{
	STEP_TEXT,					/* copy text */
	STEP_COLUMN,				/* append a column */
	STEP_METADATA,				/* append a column that is the whole metadata */
	STEP_KEY,					/* append the key as a JSON string */
	STEP_MARKER					/* append the marker as a JSON string */
} StepKind;

typedef struct TemplateStep
{
	StepKind	kind;
	char	   *text;			/* STEP_TEXT */
	int			text_len;
	int			column;			/* STEP_COLUMN, STEP_METADATA: index into
								 * columns */
	TemplateColumn *definition;
	bool		not_null;		/* the contract wants a value there */
	char	   *path;			/* where it stands, for errors */
} TemplateStep;

typedef struct Template
{
	List	   *columns;		/* of TemplateColumn: what the row's query
								 * selects */
	Bitmapset  *used;			/* attnums of columns that are mirrored */
	List	   *content;		/* of TemplateStep: all but the features */
	bool		has_features;
	bool		features_are_column;	/* "features": "$column" */
	List	   *features;		/* of List of TemplateStep: one an element */
	List	   *names;			/* char *: names of metadata and root fields
								 * sent */
} Template;

/* One row to render: values[i] is columns[i] in its form. */
typedef struct TemplateRow
{
	const Datum *values;
	const bool *nulls;
	const char *key;
	const char *marker;
} TemplateRow;

/*
 * Compiles document (NULL: all defaults) for rows of desc, in the current memory
 * context.  Columns in "excluded" (attnums) are not part of "$*".  "table" is
 * the logical table's name, for the default source_details.  Raises
 * ERRCODE_UNDEFINED_COLUMN and ERRCODE_INVALID_PARAMETER_VALUE with the path of
 * the field, and ERRCODE_PROGRAM_LIMIT_EXCEEDED for what is too much (see bounds.h).  Takes time
 * in proportion to the document's size, and can be interrupted.
 */
extern Template *template_compile(Jsonb *document, TupleDesc desc,
								  const Bitmapset *excluded, const char *table);

/*
 * Appends the members of the document's object without features, each
 * preceded by a comma, to content; the features array, if the template has
 * one, to features.  A feature whose vector is null is left out: it comes when
 * the vector does.  Text is in the database encoding.  Raises
 * ERRCODE_NULL_VALUE_NOT_ALLOWED where the contract wants a value and the column
 * is null.
 */
extern void template_render(const Template *template, const TemplateRow *row,
							StringInfo content, StringInfo features);

#endif							/* MIXPEEK_TEMPLATE_H */
