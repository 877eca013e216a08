/*-------------------------------------------------------------------------
 *
 * json.h
 *		Members of JSON objects: finding them, and writing them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_JSON_H
#define MIXPEEK_JSON_H

#include "lib/stringinfo.h"
#include "utils/jsonb.h"

/* Return a member's value, palloc'd; NULL if there is none, or "object" is NULL or not an object. */
extern JsonbValue *json_member(JsonbContainer *object, const char *name);

/* Return a member that is an object or an array; NULL if it is neither. */
extern JsonbContainer *json_member_container(JsonbContainer *object, const char *name);

/* Check whether a value is a scalar other than null, or has one in it. */
extern bool json_has_scalars(Jsonb *json);

/*
 * Append the name of a member to an object's text, which begins with its bracket, and a comma
 * before it unless it is the first one.  The caller appends the value.
 */
extern void json_append_name(StringInfo object, const char *name);

/* Append a member; nothing if value is NULL. */
extern void json_append_member(StringInfo object, const char *name, Jsonb *value);

#endif							/* MIXPEEK_JSON_H */
