/*-------------------------------------------------------------------------
 *
 * member.c
 *		Members of JSON objects.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "member.h"

JsonbValue *
member_find(JsonbContainer *object, const char *name)
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
member_container(JsonbContainer *object, const char *name)
{
	JsonbValue *value = member_find(object, name);

	return value && value->type == jbvBinary ? value->val.binary.data : NULL;
}
