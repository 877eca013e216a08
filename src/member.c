/*-------------------------------------------------------------------------
 *
 * member.c
 *		Members of JSON objects.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <ctype.h>

#include "lib/stringinfo.h"
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
 * Making jsonb of a text costs some ten times as much as running over it, so members
 * are dropped from the text.  The functions that follow take the place where a part
 * of a JSON text begins and return the one behind it, or NULL if it is none, or is
 * nested too deeply to be followed here.
 */
#define MAX_NESTING 64

static const char *skip_value(const char *p, int depth);

static const char *
skip_space(const char *p)
{
	while (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r')
		p++;
	return p;
}

static const char *
skip_escape(const char *p)
{
	if (p[1] != 'u')
		return p[1] != '\0' && strchr("\"\\/bfnrt", p[1]) ? p + 2 : NULL;
	for (int i = 2; i < 6; i++)
	{
		if (!isxdigit((unsigned char) p[i]))
			return NULL;
	}
	return p + 6;
}

static const char *
skip_string(const char *p)
{
	static const bool plain[256] = {[' ' ... '!'] = true, ['#' ... '['] = true, [']' ... 255] = true};

	if (*p++ != '"')
		return NULL;
	for (;;)
	{
		while (plain[(unsigned char) *p])
			p++;
		if (*p == '"')
			return p + 1;
		if (*p != '\\' || (p = skip_escape(p)) == NULL)
			return NULL;
	}
}

static const char *
skip_digits(const char *p)
{
	if (!isdigit((unsigned char) *p))
		return NULL;
	while (isdigit((unsigned char) *p))
		p++;
	return p;
}

static const char *
skip_number(const char *p)
{
	if (*p == '-')
		p++;
	p = *p == '0' ? p + 1 : skip_digits(p);
	if (p && *p == '.')
		p = skip_digits(p + 1);
	if (p && (*p == 'e' || *p == 'E'))
		p = skip_digits(p[1] == '+' || p[1] == '-' ? p + 2 : p + 1);
	return p;
}

static const char *
skip_word(const char *p, const char *word)
{
	return strncmp(p, word, strlen(word)) == 0 ? p + strlen(word) : NULL;
}

/* "name": of an object's member, up to where its value begins */
static const char *
skip_name(const char *p)
{
	p = skip_string(p);
	if (p == NULL)
		return NULL;
	p = skip_space(p);
	return *p == ':' ? skip_space(p + 1) : NULL;
}

/* What stands between the brackets of an array or, with names, of an object, and the closing one. */
static const char *
skip_elements(const char *p, bool names, char end, int depth)
{
	p = skip_space(p);
	if (*p == end)
		return p + 1;
	for (;;)
	{
		if (names && (p = skip_name(p)) == NULL)
			return NULL;
		p = skip_value(p, depth);
		if (p == NULL)
			return NULL;
		p = skip_space(p);
		if (*p == end)
			return p + 1;
		if (*p != ',')
			return NULL;
		p = skip_space(p + 1);
	}
}

static const char *
skip_value(const char *p, int depth)
{
	switch (*p)
	{
		case '"':
			return skip_string(p);
		case '{':
			return depth < MAX_NESTING ? skip_elements(p + 1, true, '}', depth + 1) : NULL;
		case '[':
			return depth < MAX_NESTING ? skip_elements(p + 1, false, ']', depth + 1) : NULL;
		case 't':
			return skip_word(p, "true");
		case 'f':
			return skip_word(p, "false");
		case 'n':
			return skip_word(p, "null");
		default:
			return skip_number(p);
	}
}

static void
keep_if_wanted(StringInfo kept, const char *member, const char *end, MemberFilter unwanted)
{
	const char *name = member + 1;
	const char *name_end = skip_string(member) - 1;

	if (unwanted(name, name_end - name))
		return;
	if (kept->len > 1)
		appendStringInfoChar(kept, ',');
	appendBinaryStringInfo(kept, member, end - member);
}

char *
member_drop(const char *text, MemberFilter unwanted)
{
	StringInfoData kept;
	const char *p = skip_space(text);

	if (*p != '{')
		return NULL;
	initStringInfo(&kept);
	appendStringInfoChar(&kept, '{');
	p = skip_space(p + 1);
	while (*p != '}')
	{
		const char *member = p;

		p = skip_name(p);
		if (p == NULL || (p = skip_value(p, 0)) == NULL)
			return NULL;
		keep_if_wanted(&kept, member, p, unwanted);
		p = skip_space(p);
		if (*p == ',' && *skip_space(p + 1) != '}')
			p = skip_space(p + 1);
		else if (*p != '}')
			return NULL;
	}
	if (*skip_space(p + 1) != '\0')
		return NULL;
	appendStringInfoChar(&kept, '}');
	return kept.data;
}
