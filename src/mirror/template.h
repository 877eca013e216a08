/*-------------------------------------------------------------------------
 *
 * template.h
 *		A document template, compiled once and rendered once for each row.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_TEMPLATE_H
#define MIXPEEK_TEMPLATE_H

#include "access/tupdesc.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mirror/column_form.h"
#include "nodes/bitmapset.h"
#include "utils/jsonb.h"

typedef struct TemplateColumn
{
	AttrNumber	attnum;
	char	   *name;
	ColumnForm	form;
	Oid			type;			/* base type of a domain */
	FmgrInfo	output;			/* the type's output function */
} TemplateColumn;

typedef enum StepKind
{
	STEP_TEXT,					/* copy text */
	STEP_COLUMN,				/* append a column */
	STEP_METADATA,				/* append the members of a column that is all
								 * of the metadata */
	STEP_KEY,					/* append the key as a JSON string */
	STEP_MARKER					/* append the marker as a JSON string */
} StepKind;

/* What a column holds of a document's vectors. */
typedef enum VectorPart
{
	VECTOR_NONE,
	VECTOR_NUMBERS,				/* a vector, a part of one, or several */
	VECTOR_FEATURES				/* features, which have vectors */
} VectorPart;

typedef struct TemplateStep
{
	StepKind	kind;
	char	   *text;			/* STEP_TEXT */
	int			text_len;
	int			column;			/* STEP_COLUMN, STEP_METADATA: index into
								 * columns */
	TemplateColumn *definition;
	bool		not_null;		/* the contract does not allow null */
	VectorPart	vector;
	char	   *path;			/* of the field, for errors */
} TemplateStep;

typedef struct Template
{
	List	   *columns;		/* TemplateColumns to read from a row */
	Bitmapset  *used;			/* their attnums, and those of the filter's
								 * columns */
	List	   *content;		/* TemplateSteps of all but the features */
	bool		has_features;
	bool		features_are_column;	/* "features": "$column" */
	List	   *features;		/* for each feature, a List of TemplateStep */
	bool		metadata_is_column; /* "metadata": "$column": its names are
									 * the row's */
	List	   *names;			/* names of metadata and root fields that are
								 * sent, as char * */
	List	   *root_fields;	/* of these, the fields at the root besides
								 * metadata and source_details */
} Template;

/* A row to render; values[i] is the value of columns[i], in its form. */
typedef struct TemplateRow
{
	const Datum *values;
	const bool *nulls;
	const char *key;
	const char *marker;
} TemplateRow;

/*
 * Compile document (NULL: the default template) for rows of desc, in the current memory
 * context.  Columns in "excluded" (attnums) are not part of "$*".  "table" is
 * the logical table's name, for the default source_details.  Raises
 * ERRCODE_UNDEFINED_COLUMN and ERRCODE_INVALID_PARAMETER_VALUE with the path of
 * the field, ERRCODE_RESERVED_NAME for the marker's field, and
 * ERRCODE_PROGRAM_LIMIT_EXCEEDED for what exceeds bounds.h.  The time it takes is
 * proportional to the document's size, and it can be interrupted.
 */
extern Template *template_compile(Jsonb *document, TupleDesc desc,
								  const Bitmapset *excluded, const char *table);

/*
 * Render a row: append to content the members of the document's object except
 * "features", each preceded by a comma, and to features the array, if the template has
 * one.  A feature whose vector is null is left out of the array; it is sent when the
 * vector is set.  Text is in the database encoding.  Raises
 * ERRCODE_NULL_VALUE_NOT_ALLOWED where the contract does not allow null and the column
 * is null, and ERRCODE_INVALID_PARAMETER_VALUE if metadata is not an object.
 */
extern void template_render(const Template *template, const TemplateRow *row,
							StringInfo content, StringInfo features);

#endif							/* MIXPEEK_TEMPLATE_H */
