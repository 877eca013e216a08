/*-------------------------------------------------------------------------
 *
 * column_form.h
 *		How the values of a column become JSON.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_COLUMN_FORM_H
#define MIXPEEK_COLUMN_FORM_H

/* The form in which whoever reads a row passes a column's value. */
typedef enum ColumnForm
{
	COLUMN_NATIVE,				/* the value itself, which render.c renders */
	COLUMN_JSON,				/* result of to_json(), sent unchanged */
	COLUMN_TEXT					/* the value itself, sent as a JSON string of
								 * its text */
} ColumnForm;

/* Return the form for columns of a type: COLUMN_NATIVE if render.c knows it, else COLUMN_JSON. */
extern ColumnForm column_form(Oid type);

/* Return the JSON types that values of a type can have, as a set of CONTRACT_* of contract.h. */
extern int	column_json_types(Oid type);

#endif							/* MIXPEEK_COLUMN_FORM_H */
