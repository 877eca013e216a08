/*-------------------------------------------------------------------------
 *
 * member.c
 *		Members of JSON objects.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "common/jsonapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
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

/*
 * Parsing costs a tenth of making jsonb, so members are dropped from the text.
 */
typedef struct Dropping
{
	JsonLexContext *lexer;
	MemberFilter unwanted;
	const char *next;			/* where the next member of the object begins, or whitespace before it */
	StringInfoData kept;
} Dropping;

/* A member ends: the lexer stands on the comma or brace after it. */
static COMPAT_JSON_ACTION
end_member(void *arg, char *unused, bool isnull)
{
	Dropping   *dropping = arg;
	JsonLexContext *lexer = dropping->lexer;
	const char *name;
	const char *name_end;

	if (lexer->lex_level != 1)
		COMPAT_JSON_GO_ON;
	name = strchr(dropping->next, '"') + 1;
	for (name_end = name; *name_end != '"'; name_end++)
	{
		if (*name_end == '\\')
			name_end++;
	}
	if (!dropping->unwanted(name, name_end - name))
	{
		if (dropping->kept.len > 1)
			appendStringInfoChar(&dropping->kept, ',');
		appendBinaryStringInfo(&dropping->kept, name - 1, lexer->prev_token_terminator - name + 1);
	}
	dropping->next = lexer->token_terminator;
	COMPAT_JSON_GO_ON;
}

char *
member_drop(const char *text, size_t len, MemberFilter unwanted)
{
	Dropping	dropping = {0};
	JsonSemAction actions = {0};

	dropping.unwanted = unwanted;
	dropping.next = text;
	dropping.lexer = COMPAT_JSON_LEXER(text, len);
	initStringInfo(&dropping.kept);
	appendStringInfoChar(&dropping.kept, '{');
	actions.semstate = &dropping;
	actions.object_field_end = end_member;
	if (pg_parse_json(dropping.lexer, &actions) != JSON_SUCCESS || text[strspn(text, " \t\r\n")] != '{')
		return NULL;
	appendStringInfoChar(&dropping.kept, '}');
	return dropping.kept.data;
}
