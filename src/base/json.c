/*-------------------------------------------------------------------------
 *
 * json.c
 *		Members of JSON objects: finding them, and writing them.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/json.h"
#include "utils/json.h"

JsonbValue *
json_member(JsonbContainer *object, const char *name)
{
	JsonbValue	key;

	if (object == NULL || !JsonContainerIsObject(object))
		return NULL;
	key.type = jbvString;
	key.val.string.val = (char *) name;
	key.val.string.len = strlen(name);
	return findJsonbValueFromContainer(object, JB_FOBJECT, &key);
}

JsonbContainer *
json_member_container(JsonbContainer *object, const char *name)
{
	JsonbValue *value = json_member(object, name);

	return value && value->type == jbvBinary ? value->val.binary.data : NULL;
}

void
json_append_name(StringInfo object, const char *name)
{
	if (object->data[object->len - 1] != '{')
		appendStringInfoChar(object, ',');
	escape_json(object, name);
	appendStringInfoChar(object, ':');
}

void
json_append_member(StringInfo object, const char *name, Jsonb *value)
{
	if (value == NULL)
		return;
	json_append_name(object, name);
	(void) JsonbToCString(object, &value->root, VARSIZE(value));
}

bool
json_has_scalars(Jsonb *json)
{
	JsonbIterator *it = JsonbIteratorInit(&json->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		if ((token == WJB_VALUE || token == WJB_ELEM) && value.type != jbvNull)
			return true;
	}
	return false;
}
