/*-------------------------------------------------------------------------
 *
 * vector_check.h
 *		Vectors consist of numbers: NaN, infinities and null have no place in them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_VECTOR_CHECK_H
#define MIXPEEK_VECTOR_CHECK_H

#include "mirror/template.h"

/* Return what a column at this path of the template holds of vectors. */
extern VectorPart vector_part(const char *path);

/*
 * Check the rendered value of a step's column, which ends with a NUL.  Raises
 * ERRCODE_INVALID_PARAMETER_VALUE if something in a vector is not a number.
 */
extern void vector_check(const TemplateStep *step, const char *json);

#endif							/* MIXPEEK_VECTOR_CHECK_H */
