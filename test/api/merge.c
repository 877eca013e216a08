/*
 * merge.c
 *	  A document's text with an update worked in: whole root fields, the keys
 *	  of metadata one by one, or single fields named by paths.
 */
#include "merge.h"

#include <string.h>

static bool
has_key(const JsonNode *object, const JsonNode *key)
{
	Buffer		name = {0};
	bool		found;

	if (!object || object->kind != JSON_OBJECT)
		return false;
	json_decode(key, &name);
	found = json_get_bytes(object, buffer_terminate(&name), name.length);
	buffer_free(&name);
	return found;
}

static void
add_key(Buffer *into, const JsonNode *key)
{
	if (into->data[into->length - 1] != '{')
		buffer_char(into, ',');
	buffer_add(into, key->text, key->length);
	buffer_char(into, ':');
}

static void
add_member(Buffer *into, const JsonNode *key)
{
	add_key(into, key);
	buffer_add(into, key[1].text, key[1].length);
}

/* Which document it is, where it lives and what the API notes of it is not for an update to say. */
static bool
is_identity(const JsonNode *key)
{
	return json_is(key, "document_id") || json_is(key, "collection_id") || json_is(key, "_internal") ||
		json_is(key, "searchable_at");
}

static void
replace_members(Buffer *into, const JsonNode *stored, const JsonNode *update, bool root)
{
	buffer_char(into, '{');
	JSON_MEMBERS(stored, key)
	{
		if ((root && is_identity(key)) || !has_key(update, key))
			add_member(into, key);
	}
	JSON_MEMBERS(update, key)
	{
		if (!(root && is_identity(key)))
			add_member(into, key);
	}
	buffer_char(into, '}');
}

/* The stored object with the update's fields in place of its own. */
void
merge_replace(Buffer *into, const JsonNode *stored, const JsonNode *update)
{
	replace_members(into, stored, update, true);
}

/* Add the stored object up to the value of the named member, which comes last; the caller adds that and the end. */
void
merge_before(Buffer *into, const JsonNode *stored, const char *name)
{
	buffer_char(into, '{');
	JSON_MEMBERS(stored, key)
	{
		if (!json_is(key, name))
			add_member(into, key);
	}
	if (into->data[into->length - 1] != '{')
		buffer_char(into, ',');
	buffer_json_text(into, name);
	buffer_char(into, ':');
}

/* Add a member whose value is the stored object (or none) with the update's keys set, and its nulls removed. */
static void
add_merged(Buffer *into, const JsonNode *key, const JsonNode *stored, const JsonNode *update)
{
	add_key(into, key);
	buffer_char(into, '{');
	if (stored && stored->kind == JSON_OBJECT)
		JSON_MEMBERS(stored, member)
	{
		if (!has_key(update, member))
			add_member(into, member);
	}
	JSON_MEMBERS(update, member)
	{
		if (member[1].kind != JSON_NULL)
			add_member(into, member);
	}
	buffer_char(into, '}');
}

/*
 * The stored object with the update's fields in place of its own, but metadata
 * key by key: one that is null is removed.
 */
void
merge_metadata(Buffer *into, const JsonNode *stored, const JsonNode *update)
{
	buffer_char(into, '{');
	JSON_MEMBERS(stored, key)
	{
		if (is_identity(key) || !has_key(update, key))
			add_member(into, key);
	}
	JSON_MEMBERS(update, key)
	{
		if (json_is(key, "metadata") && key[1].kind == JSON_OBJECT)
			add_merged(into, key, json_get(stored, "metadata"), &key[1]);
		else if (!is_identity(key))
			add_member(into, key);
	}
	buffer_char(into, '}');
}

/*
 * The stored object (or none) with one field set, that is named by a path with
 * dots.  Unless whole, an object that meets an object adds its members to it.
 */
void
merge_set(Buffer *into, const JsonNode *stored, const char *path, const JsonNode *value, bool whole)
{
	size_t		length = strcspn(path, ".");
	const JsonNode *old = json_get_bytes(stored, path, length);

	buffer_char(into, '{');
	if (stored && stored->kind == JSON_OBJECT)
		JSON_MEMBERS(stored, key)
	{
		if (!old || &key[1] != old)
			add_member(into, key);
	}
	if (into->data[into->length - 1] != '{')
		buffer_char(into, ',');
	buffer_json(into, path, length);
	buffer_char(into, ':');
	if (path[length])
		merge_set(into, old, path + length + 1, value, whole);
	else if (!whole && old && old->kind == JSON_OBJECT && value->kind == JSON_OBJECT)
		replace_members(into, old, value, false);
	else
		buffer_add(into, value->text, value->length);
	buffer_char(into, '}');
}

/* The stored object with the update's fields set one after the other, as merge_set() does. */
void
merge_paths(Buffer *into, const JsonNode *stored, const JsonNode *update, bool whole)
{
	JsonDocument document = {0};
	Buffer		before = {0};

	buffer_add(into, stored->text, stored->length);
	JSON_MEMBERS(update, key)
	{
		Buffer		path = {0};
		Buffer		swap = before;

		if (is_identity(key))
			continue;
		before = *into;
		*into = swap;
		into->length = 0;
		json_decode(key, &path);
		merge_set(into, json_parse(&document, before.data, before.length), buffer_terminate(&path), &key[1],
				  whole);
		buffer_free(&path);
	}
	buffer_free(&before);
	json_free(&document);
}

/* The field which no update may set, or NULL: "any document field except vectors". */
const char *
merge_refused_field(const JsonNode *update)
{
	static const char *const refused[] = {"features", "vectors", "vector"};

	for (int i = 0; i < 3; i++)
		if (json_get(update, refused[i]))
			return refused[i];
	return NULL;
}
