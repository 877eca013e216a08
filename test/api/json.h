/*
 * json.h
 *	  A JSON parser whose values stay where they stand in the text: a value is
 *	  a node that points into it, so that echoing one is copying its bytes.
 */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

typedef enum JsonKind
{
	JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT
} JsonKind;

/*
 * Nodes lie in document order.  The children of an array or object follow it
 * (of an object: key, value, key, value, ...); "span" nodes further is what
 * follows the value.
 */
typedef struct JsonNode
{
	const char *text;			/* the value as written, quotes included */
	uint32_t	length;
	uint32_t	span;			/* nodes of this value, itself included */
	uint32_t	count;			/* members of an object, items of an array */
	uint8_t		kind;
	bool		escaped;		/* a string with a backslash in it */
	bool		integer;		/* a number without a fraction */
} JsonNode;

/* Owns the nodes of one parsed text, not the text.  Zeroed is valid. */
typedef struct JsonDocument
{
	JsonNode   *nodes;
	size_t		used;
	size_t		capacity;
	size_t		error_at;		/* byte offset of the first mistake */
	const char *error;
} JsonDocument;

#define JSON_MEMBERS(object, key) \
	for (const JsonNode *key = (object) + 1; key < (object) + (object)->span; key += 1 + key[1].span)
#define JSON_ITEMS(array, item) \
	for (const JsonNode *item = (array) + 1; item < (array) + (array)->span; item += item->span)

extern const JsonNode *json_parse(JsonDocument *document, const char *text, size_t length);
extern void json_free(JsonDocument *document);

extern const JsonNode *json_get(const JsonNode *object, const char *name);
extern const JsonNode *json_get_bytes(const JsonNode *object, const char *name, size_t length);
extern bool json_is(const JsonNode *string, const char *text);
extern void json_decode(const JsonNode *string, Buffer *into);
extern char *json_string(const JsonNode *string);
extern double json_number(const JsonNode *number);

#endif
