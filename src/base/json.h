/*-------------------------------------------------------------------------
 *
 * json.h
 *		Members of JSON objects.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_JSON_H
#define MIXPEEK_JSON_H

#include "utils/jsonb.h"

/* A member's value, palloc'd; NULL if there is none, or object is NULL or no object. */
extern JsonbValue *json_member(JsonbContainer *object, const char *name);

/* The same for a member that is an object or an array; else NULL. */
extern JsonbContainer *json_member_container(JsonbContainer *object, const char *name);

#endif							/* MIXPEEK_JSON_H */
