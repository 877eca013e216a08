/*
 * filter_parts.h
 *	  What a compiled filter consists of, for filter.c and select.c.
 */
#ifndef FILTER_PARTS_H
#define FILTER_PARTS_H

#include <regex.h>

#include "filter.h"

typedef enum Operator
{
	OP_EQ, OP_NE, OP_GT, OP_LT, OP_GTE, OP_LTE, OP_IN, OP_NIN, OP_CONTAINS, OP_STARTS_WITH,
	OP_ENDS_WITH, OP_REGEX, OP_EXISTS, OP_IS_NULL, OP_TEXT
} Operator;

typedef enum FilterKind
{
	FILTER_ALL, FILTER_ANY, FILTER_NONE, FILTER_CONDITION
} FilterKind;

struct Filter
{
	FilterKind	kind;
	Filter	   *children;		/* a list */
	Filter	   *next;
	bool		case_sensitive;
	char	   *field;			/* of a condition, as are the following */
	Operator	operator;
	const JsonNode *value;		/* the request's */
	regex_t    *regex;
};

/* What a condition's field is compared with, case as the filter says. */
typedef struct Text
{
	char	   *bytes;
	size_t		length;
} Text;

extern Text text_of(const JsonNode *node, bool case_sensitive);

#endif
