/*-------------------------------------------------------------------------
 *
 * member.h
 *		Members of JSON objects.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_MEMBER_H
#define MIXPEEK_MEMBER_H

#include "utils/jsonb.h"

/* A member's value, palloc'd; NULL if there is none, or object is NULL or no object. */
extern JsonbValue *member_find(JsonbContainer *object, const char *name);

/* The same for a member that is an object or an array; else NULL. */
extern JsonbContainer *member_container(JsonbContainer *object, const char *name);

/* Is a member of an object not wanted?  The name is as it is written, without its quotes. */
typedef bool (*MemberFilter) (const char *name, size_t len);

/*
 * The text of a JSON object without its members that are not wanted, palloc'd.  The
 * whole text is checked: NULL if it is no JSON object, or one that has to be parsed to
 * be understood.
 */
extern char *member_drop(const char *text, MemberFilter unwanted);

#endif							/* MIXPEEK_MEMBER_H */
