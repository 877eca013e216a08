/*-------------------------------------------------------------------------
 *
 * api_key_text.c
 *		API keys in the text of statements.
 *
 * CREATE USER MAPPING has the API key in its text, and the text is what
 * pg_stat_activity and pg_stat_statements show.  Asterisks are put in place of the
 * key, one for each byte, so that positions in the text stay valid.
 *
 * If the statement's tree is available it says what the key is.  A text that may
 * contain such a statement (several statements in one string, a DO block) is searched for
 * "mapping", then "api_key", then a literal; if something else than a literal follows, the
 * whole rest of the text is hidden.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "entry/api_key_text.h"
#include "parser/parser.h"

#define FIRST_WORD "mapping"
#define OPTION "api_key"

/* Bytes; a shorter key is not searched for by its value, because it would match too much. */
#define MIN_KEY 4

DefElem *
api_key_find_option(Node *statement)
{
	List	   *options = NIL;
	ListCell   *lc;

	if (statement && IsA(statement, CreateUserMappingStmt))
		options = castNode(CreateUserMappingStmt, statement)->options;
	else if (statement && IsA(statement, AlterUserMappingStmt))
		options = castNode(AlterUserMappingStmt, statement)->options;
	foreach(lc, options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, OPTION) == 0 && option->arg && IsA(option->arg, String))
			return option;
	}
	return NULL;
}

/* Put asterisks in place of a range; return its end. */
static char *
hide_range(char *from, char *to)
{
	memset(from, '*', to - from);
	return to;
}

static char *
hide_rest(char *p)
{
	return hide_range(p, p + strlen(p));
}

/* Skip white space and comments. */
static char *
skip_sql_space(char *p)
{
	for (;;)
	{
		char	   *end;

		p += strspn(p, " \t\n\r\f\v");
		if (p[0] == '-' && p[1] == '-')
			end = strchr(p, '\n');
		else if (p[0] == '/' && p[1] == '*')
			end = strstr(p, "*/");
		else
			return p;
		p = end ? end + 1 : p + strlen(p);
		if (end && *end == '*')
			p++;
	}
}

/* Hide a literal in single quotes, where p is behind the opening quote; return what follows the literal. */
static char *
hide_quoted(char *p, bool escapes)
{
	for (;;)
	{
		size_t		space;

		while (*p && *p != '\'')
		{
			if (escapes && *p == '\\' && p[1])
				*p++ = '*';
			*p++ = '*';
		}
		if (*p == '\0')
			return p;
		p++;
		if (*p == '\'')
		{
			p[-1] = *p = '*';	/* a doubled quote */
			p++;
			continue;
		}
		space = strspn(p, " \t\n\r\f\v");
		if (p[space] != '\'' || memchr(p, '\n', space) == NULL)
			return p;
		p += space + 1;			/* the literal continues on another line */
	}
}

/* Hide a literal within another literal: it begins with n quotes, which p is behind, and ends with n. */
static char *
hide_within(char *p, size_t n)
{
	char	   *end = p;

	while (*end && strspn(end, "'") < n)
		end++;
	return hide_range(p, end) + strspn(end, "'");
}

/* Hide the content of $tag$...$tag$, where p is at the first dollar sign. */
static char *
hide_dollars(char *p)
{
	char	   *content = strchr(p + 1, '$');
	char	   *tag;
	char	   *end;

	if (content == NULL)
		return hide_rest(p);
	content++;
	tag = pnstrdup(p, content - p);
	end = strstr(content, tag);
	return end ? hide_range(content, end) + strlen(tag) : hide_rest(content);
}

/* Hide the value that follows the option's name; return what follows the value. */
static char *
hide_value(char *p)
{
	bool		escapes = COMPAT_BACKSLASH_ESCAPES();
	size_t		quotes;

	p = skip_sql_space(p + strspn(p, "\""));
	if (*p == '\0' || strchr("),;", *p))
		return p;				/* DROP api_key */
	if ((p[0] == 'e' || p[0] == 'E') && p[1] == '\'')
	{
		escapes = true;
		p++;
	}
	else if ((p[0] == 'u' || p[0] == 'U') && p[1] == '&')
		p += 2;
	quotes = strspn(p, "'");
	if (quotes == 0)
		return *p == '$' ? hide_dollars(p) : hide_rest(p);
	return quotes % 2 ? hide_quoted(p + 1, escapes) : hide_within(p + quotes, quotes);
}

/* Hide the values of all options that look like API keys; return whether there are any. */
static bool
hide_options(char *text)
{
	char	   *p = strcasestr(text, FIRST_WORD);
	bool		any = false;

	while (p && (p = strcasestr(p, OPTION)) != NULL)
	{
		p = hide_value(p + strlen(OPTION));
		any = true;
	}
	return any;
}

/* Hide each occurrence of a key; return whether there are any. */
static bool
hide_occurrences(char *text, const char *key)
{
	size_t		len = strlen(key);
	bool		any = false;

	if (len < MIN_KEY)
		return false;
	for (char *p = text; (p = strstr(p, key)) != NULL; any = true)
		p = hide_range(p, p + len);
	return any;
}

/*
 * Return a copy of the part of the text that is the statement; for the first statement, of
 * all of the text, and set *location to 0.
 */
static char *
statement_part(const char *text, int *location, int len)
{
	if (*location > 0 && *location < (int) strlen(text))
		return len > 0 ? pnstrdup(text + *location, len) : pstrdup(text + *location);
	*location = 0;
	return pstrdup(text);
}

char *
api_key_hide(const char *text, int location, int len, const DefElem *option)
{
	char	   *part;
	char	   *result = NULL;
	bool		any;

	if (option == NULL && location <= 0 && strcasestr(text, FIRST_WORD) == NULL)
		return NULL;			/* the fast path for nearly all statements */
	part = statement_part(text, &location, len);
	any = hide_options(part);
	if (option)
	{
		int			start = option->location - location;

		any |= hide_occurrences(part, strVal(option->arg));
		if (!any && option->location >= location && start < (int) strlen(part))
			hide_rest(part + start);	/* the literal's syntax is not known
										 * here */
		any = true;
	}
	if (any)
	{
		result = pstrdup(text);
		memcpy(result + location, part, strlen(part));
	}
	pfree(part);
	return result;
}
