/*-------------------------------------------------------------------------
 *
 * json.c
 *		Members of JSON objects.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/json.h"

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
