/*-------------------------------------------------------------------------
 *
 * function_arguments.h
 *		Arguments of SQL functions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_FUNCTION_ARGUMENTS_H
#define MIXPEEK_FUNCTION_ARGUMENTS_H

#include "fmgr.h"

/* Raise ERRCODE_NULL_VALUE_NOT_ALLOWED, with the argument's name, if argument i is null. */
extern void function_argument_check(FunctionCallInfo fcinfo, int i, const char *name);

/*
 * Return argument i, a text, as a string; NULL if it is null.  Raises
 * ERRCODE_PROGRAM_LIMIT_EXCEEDED if it has more than max_length bytes.
 */
extern char *function_argument_text(FunctionCallInfo fcinfo, int i, const char *name, int max_length);

/* Return argument i, the name of a collection, as function_argument_text() does. */
extern char *function_argument_collection(FunctionCallInfo fcinfo, int i);

#endif							/* MIXPEEK_FUNCTION_ARGUMENTS_H */
