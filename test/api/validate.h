/*
 * validate.h
 *	  Checking values against tables of rules, and the 422 which tells of all
 *	  the mistakes found.
 */
#ifndef VALIDATE_H
#define VALIDATE_H

#include "json.h"
#include "request.h"

#define MAX_LOCATION 300

enum
{
	T_NULL = 1, T_BOOLEAN = 2, T_INTEGER = 4, T_NUMBER = 8, T_STRING = 16, T_ARRAY = 32, T_OBJECT = 64,
	T_ANY = 127
};

typedef struct Location
{
	const char *text;			/* NULL: an index */
	size_t		length;
	bool		quoted;			/* text is a JSON string already */
	long		index;
} Location;

/* Collects mistakes, and knows the place that is being looked at. */
typedef struct Checker
{
	Buffer		errors;			/* JSON objects with commas between */
	Location	location[MAX_LOCATION];
	int			depth;
} Checker;

typedef struct Rule
{
	const char *name;			/* of a member; NULL ends a table of members */
	unsigned	types;
	bool		required;
	const struct Rule *members; /* of an object; others are let through */
	const struct Rule *items;	/* of an array: one rule */
	const char *const *choices; /* of a string, ended by NULL */
	long		min_length;		/* of a string (bytes) or array */
	long		max_length;		/* 0: any */
	bool		unsigned_integer;
	bool		closed;			/* the members are all that an object may have */
	void		(*check) (Checker *checker, const JsonNode *value);
} Rule;

extern void checker_begin(Checker *checker, const char *where);
extern void checker_enter(Checker *checker, const char *name);
extern void checker_enter_key(Checker *checker, const JsonNode *key);
extern void checker_enter_index(Checker *checker, long index);
extern void checker_leave(Checker *checker);
extern void checker_error(Checker *checker, const char *type, const char *format,...)
			__attribute__((format(printf, 3, 4)));
extern void checker_value(Checker *checker, const Rule *rule, const JsonNode *value);
extern bool checker_answer(Checker *checker, Request *request);

extern const JsonNode *request_checked(Request *request, const Rule *rule);
extern long request_integer(Request *request, Checker *checker, const char *name,
							long fallback, long min, long max);
extern bool request_flag(Request *request, Checker *checker, const char *name);

#endif
