/*
 * normalize.c
 *	  What the service makes of metadata before it is stored: nulls that are
 *	  dropped, texts that are cut.
 */
#include "normalize.h"

#include "json.h"
#include "merge.h"
#include "traits.h"

static void add_object(Buffer *into, const JsonNode *object);

/* Add the text's first bytes, without a character that would be cut in two. */
static void
add_text(Buffer *into, const JsonNode *string)
{
	Buffer		text = {0};
	size_t		length;
	double		limit;

	json_decode(string, &text);
	length = text.length;
	if (trait_number(TRAIT_METADATA_TEXTS, &limit) && length > limit)
		for (length = limit; length && (text.data[length] & 0xC0) == 0x80;)
			length--;
	buffer_json(into, text.data, length);
	buffer_free(&text);
}

static void
add_value(Buffer *into, const JsonNode *value)
{
	const char *separator = "";

	if (value->kind == JSON_STRING)
		add_text(into, value);
	else if (value->kind == JSON_OBJECT)
		add_object(into, value);
	else if (value->kind == JSON_ARRAY)
	{
		buffer_char(into, '[');
		JSON_ITEMS(value, item)
		{
			buffer_text(into, separator);
			add_value(into, item);
			separator = ",";
		}
		buffer_char(into, ']');
	}
	else
		buffer_add(into, value->text, value->length);
}

static void
add_object(Buffer *into, const JsonNode *object)
{
	const char *separator = "";

	buffer_char(into, '{');
	JSON_MEMBERS(object, key)
	{
		if (key[1].kind == JSON_NULL && trait(TRAIT_METADATA_NULLS))
			continue;
		buffer_text(into, separator);
		buffer_add(into, key->text, key->length);
		buffer_char(into, ':');
		add_value(into, &key[1]);
		separator = ",";
	}
	buffer_char(into, '}');
}

/* Replace the text of a document by what is stored of it; false where that is the same. */
bool
normalize_metadata(Buffer *text)
{
	static JsonDocument parsed;
	const JsonNode *root;
	const JsonNode *metadata;
	double		limit;
	Buffer		result = {0};

	if (!trait(TRAIT_METADATA_NULLS) && !trait_number(TRAIT_METADATA_TEXTS, &limit))
		return false;
	root = json_parse(&parsed, text->data, text->length);
	metadata = json_get(root, "metadata");
	if (!metadata || metadata->kind != JSON_OBJECT)
		return false;
	merge_before(&result, root, "metadata");
	add_object(&result, metadata);
	buffer_char(&result, '}');
	buffer_free(text);
	*text = result;
	return true;
}
