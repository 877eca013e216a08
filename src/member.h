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

#endif							/* MIXPEEK_MEMBER_H */
