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

/* Return a member's value, palloc'd; NULL if there is none, or "object" is NULL or not an object. */
extern JsonbValue *json_member(JsonbContainer *object, const char *name);

/* Return a member that is an object or an array; NULL if it is neither. */
extern JsonbContainer *json_member_container(JsonbContainer *object, const char *name);

#endif							/* MIXPEEK_JSON_H */
