/*
 * json.c
 *	  The JSON parser: strict RFC 8259, UTF-8 checked, duplicate names allowed
 *	  (the last one counts, as in Python), no NaN, no lone surrogates.
 */
#include "json.h"

#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 256

typedef struct Parser
{
	JsonDocument *document;
	const char *start;
	const char *at;
	const char *end;
	int			depth;
} Parser;

static bool parse_value(Parser *p);

static bool
fail(Parser *p, const char *error)
{
	if (!p->document->error)
	{
		p->document->error = error;
		p->document->error_at = p->at - p->start;
	}
	return false;
}

static void
skip_space(Parser *p)
{
	while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\r' || *p->at == '\t'))
		p->at++;
}

/* Returns the new node's index: the array may move while it grows. */
static size_t
add_node(Parser *p, JsonKind kind)
{
	JsonDocument *d = p->document;

	if (d->used == d->capacity)
	{
		d->capacity = d->capacity ? d->capacity * 2 : 256;
		d->nodes = realloc(d->nodes, d->capacity * sizeof(JsonNode));
		if (!d->nodes)
			abort();
	}
	d->nodes[d->used] = (JsonNode) {.text = p->at,.span = 1,.kind = kind};
	return d->used++;
}

static void
close_node(Parser *p, size_t index)
{
	JsonNode   *node = &p->document->nodes[index];

	node->length = p->at - node->text;
	node->span = p->document->used - index;
}

static int
hex4(Parser *p)
{
	int			value = 0;

	if (p->end - p->at < 4)
		return -1;
	for (int i = 0; i < 4; i++)
	{
		char		c = p->at[i];
		int			digit = c >= '0' && c <= '9' ? c - '0' :
			c >= 'a' && c <= 'f' ? c - 'a' + 10 :
			c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;

		if (digit < 0)
			return -1;
		value = value * 16 + digit;
	}
	p->at += 4;
	return value;
}

static bool
parse_escape(Parser *p)
{
	int			unit;

	p->at++;
	if (p->at == p->end)
		return fail(p, "Unterminated string");
	if (*p->at != 'u')
	{
		if (!strchr("\"\\/bfnrt", *p->at) || !*p->at)
			return fail(p, "Invalid \\escape");
		p->at++;
		return true;
	}
	p->at++;
	unit = hex4(p);
	if (unit < 0)
		return fail(p, "Invalid \\uXXXX escape");
	if (unit < 0xD800 || unit > 0xDFFF)
		return true;
	if (unit > 0xDBFF || p->end - p->at < 6 || p->at[0] != '\\' || p->at[1] != 'u')
		return fail(p, "Unpaired surrogate");
	p->at += 2;
	unit = hex4(p);
	if (unit < 0xDC00 || unit > 0xDFFF)
		return fail(p, "Unpaired surrogate");
	return true;
}

/* One character of more than one byte; overlong forms and surrogates fail. */
static bool
parse_utf8(Parser *p)
{
	const unsigned char *s = (const unsigned char *) p->at;
	size_t		left = p->end - p->at;
	size_t		length = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;

	if (s[0] < 0xC2 || s[0] > 0xF4 || left < length)
		return fail(p, "Invalid UTF-8");
	for (size_t i = 1; i < length; i++)
		if ((s[i] & 0xC0) != 0x80)
			return fail(p, "Invalid UTF-8");
	if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) ||
		(s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F))
		return fail(p, "Invalid UTF-8");
	p->at += length;
	return true;
}

static bool
parse_string(Parser *p)
{
	size_t		index = add_node(p, JSON_STRING);

	for (p->at++; p->at < p->end;)
	{
		unsigned char c = *p->at;

		if (c == '"')
		{
			p->at++;
			close_node(p, index);
			return true;
		}
		if (c == '\\')
		{
			p->document->nodes[index].escaped = true;
			if (!parse_escape(p))
				return false;
		}
		else if (c < 0x20)
			return fail(p, "Invalid control character");
		else if (c < 0x80)
			p->at++;
		else if (!parse_utf8(p))
			return false;
	}
	return fail(p, "Unterminated string");
}

static bool
parse_digits(Parser *p)
{
	const char *first = p->at;

	while (p->at < p->end && *p->at >= '0' && *p->at <= '9')
		p->at++;
	return p->at > first || fail(p, "Expecting value");
}

static bool
parse_number(Parser *p)
{
	size_t		index = add_node(p, JSON_NUMBER);
	bool		integer = true;

	if (*p->at == '-')
		p->at++;
	if (p->at < p->end && *p->at == '0')
		p->at++;
	else if (!parse_digits(p))
		return false;
	if (p->at < p->end && *p->at == '.')
	{
		const char *fraction = ++p->at;

		if (!parse_digits(p))
			return false;
		for (; fraction < p->at; fraction++)
			integer = integer && *fraction == '0';
	}
	if (p->at < p->end && (*p->at == 'e' || *p->at == 'E'))
	{
		integer = false;
		p->at++;
		if (p->at < p->end && (*p->at == '+' || *p->at == '-'))
			p->at++;
		if (!parse_digits(p))
			return false;
	}
	close_node(p, index);
	p->document->nodes[index].integer = integer;
	return true;
}

static bool
parse_word(Parser *p, const char *word, JsonKind kind)
{
	size_t		length = strlen(word);
	size_t		index;

	if ((size_t) (p->end - p->at) < length || memcmp(p->at, word, length) != 0)
		return fail(p, "Expecting value");
	index = add_node(p, kind);
	p->at += length;
	close_node(p, index);
	return true;
}

/* After a member or item: true where another one follows. */
static bool
parse_comma(Parser *p, char closing)
{
	skip_space(p);
	if (p->at == p->end)
		return fail(p, "Expecting ',' delimiter");
	if (*p->at == closing)
		return false;
	if (*p->at != ',')
		return fail(p, "Expecting ',' delimiter");
	p->at++;
	skip_space(p);
	return true;
}

static bool
parse_member(Parser *p)
{
	if (p->at == p->end || *p->at != '"')
		return fail(p, "Expecting property name enclosed in double quotes");
	if (!parse_string(p))
		return false;
	skip_space(p);
	if (p->at == p->end || *p->at != ':')
		return fail(p, "Expecting ':' delimiter");
	p->at++;
	skip_space(p);
	return parse_value(p);
}

static bool
parse_container(Parser *p, JsonKind kind)
{
	size_t		index = add_node(p, kind);
	char		closing = kind == JSON_OBJECT ? '}' : ']';
	uint32_t	count = 0;

	if (++p->depth > MAX_DEPTH)
		return fail(p, "Nested too deeply");
	p->at++;
	skip_space(p);
	if (p->at == p->end || *p->at != closing)
	{
		do
		{
			if (!(kind == JSON_OBJECT ? parse_member(p) : parse_value(p)))
				return false;
			count++;
		} while (parse_comma(p, closing));
		if (p->document->error)
			return false;
	}
	p->at++;
	p->depth--;
	close_node(p, index);
	p->document->nodes[index].count = count;
	return true;
}

static bool
parse_value(Parser *p)
{
	if (p->at == p->end)
		return fail(p, "Expecting value");
	switch (*p->at)
	{
		case '{':
			return parse_container(p, JSON_OBJECT);
		case '[':
			return parse_container(p, JSON_ARRAY);
		case '"':
			return parse_string(p);
		case 't':
			return parse_word(p, "true", JSON_TRUE);
		case 'f':
			return parse_word(p, "false", JSON_FALSE);
		case 'n':
			return parse_word(p, "null", JSON_NULL);
		default:
			if (*p->at == '-' || (*p->at >= '0' && *p->at <= '9'))
				return parse_number(p);
			return fail(p, "Expecting value");
	}
}

/*
 * Returns the text's one value, or NULL with error and error_at set.  Nodes of
 * an earlier parse into the same document are overwritten.
 */
const JsonNode *
json_parse(JsonDocument *document, const char *text, size_t length)
{
	Parser		p = {.document = document,.start = text,.at = text,.end = text + length};

	document->used = 0;
	document->error = NULL;
	skip_space(&p);
	if (!parse_value(&p))
		return NULL;
	skip_space(&p);
	if (p.at != p.end)
	{
		fail(&p, "Extra data");
		return NULL;
	}
	return document->nodes;
}

void
json_free(JsonDocument *document)
{
	free(document->nodes);
	memset(document, 0, sizeof(*document));
}

/* The member of that name, or NULL; NULL also where it is no object. */
const JsonNode *
json_get_bytes(const JsonNode *object, const char *name, size_t length)
{
	const JsonNode *found = NULL;
	Buffer		decoded = {0};

	if (!object || object->kind != JSON_OBJECT)
		return NULL;
	JSON_MEMBERS(object, key)
	{
		if (!key->escaped)
		{
			if (key->length == length + 2 && memcmp(key->text + 1, name, length) == 0)
				found = key + 1;
			continue;
		}
		decoded.length = 0;
		json_decode(key, &decoded);
		if (decoded.length == length && memcmp(decoded.data, name, length) == 0)
			found = key + 1;
	}
	buffer_free(&decoded);
	return found;
}

const JsonNode *
json_get(const JsonNode *object, const char *name)
{
	return json_get_bytes(object, name, strlen(name));
}

/* Whether the node is the string that consists of this text. */
bool
json_is(const JsonNode *string, const char *text)
{
	Buffer		decoded = {0};
	size_t		length = strlen(text);
	bool		same;

	if (!string || string->kind != JSON_STRING)
		return false;
	if (!string->escaped)
		return string->length == length + 2 && memcmp(string->text + 1, text, length) == 0;
	json_decode(string, &decoded);
	same = decoded.length == length && memcmp(decoded.data, text, length) == 0;
	buffer_free(&decoded);
	return same;
}

static void
add_utf8(Buffer *into, unsigned code)
{
	if (code < 0x80)
		buffer_char(into, code);
	else if (code < 0x800)
	{
		buffer_char(into, 0xC0 | code >> 6);
		buffer_char(into, 0x80 | (code & 0x3F));
	}
	else if (code < 0x10000)
	{
		buffer_char(into, 0xE0 | code >> 12);
		buffer_char(into, 0x80 | (code >> 6 & 0x3F));
		buffer_char(into, 0x80 | (code & 0x3F));
	}
	else
	{
		buffer_char(into, 0xF0 | code >> 18);
		buffer_char(into, 0x80 | (code >> 12 & 0x3F));
		buffer_char(into, 0x80 | (code >> 6 & 0x3F));
		buffer_char(into, 0x80 | (code & 0x3F));
	}
}

/* Reads the escape at p->at, which parse_escape() has accepted before. */
static void
decode_escape(Parser *p, Buffer *into)
{
	static const char names[] = "bfnrt";
	static const char values[] = "\b\f\n\r\t";
	const char *known;
	unsigned	code;

	p->at++;
	if (*p->at != 'u')
	{
		known = strchr(names, *p->at);
		buffer_char(into, known ? values[known - names] : *p->at);
		p->at++;
		return;
	}
	p->at++;
	code = hex4(p);
	if (code >= 0xD800 && code <= 0xDBFF)
	{
		p->at += 2;
		code = 0x10000 + ((code - 0xD800) << 10) + (hex4(p) - 0xDC00);
	}
	add_utf8(into, code);
}

/* Adds the string's characters, unescaped. */
void
json_decode(const JsonNode *string, Buffer *into)
{
	Parser		p = {.at = string->text + 1,.end = string->text + string->length - 1};

	if (!string->escaped)
	{
		buffer_add(into, p.at, p.end - p.at);
		return;
	}
	while (p.at < p.end)
	{
		if (*p.at == '\\')
			decode_escape(&p, into);
		else
			buffer_char(into, *p.at++);
	}
}

/* The string as a C string, which the caller frees; NULL if it is none. */
char *
json_string(const JsonNode *string)
{
	Buffer		decoded = {0};

	if (!string || string->kind != JSON_STRING)
		return NULL;
	json_decode(string, &decoded);
	buffer_terminate(&decoded);
	return decoded.data;
}

/* A number's value; 0 for anything else. */
double
json_number(const JsonNode *number)
{
	char		digits[64];

	if (!number || number->kind != JSON_NUMBER)
		return 0;
	if (number->length >= sizeof(digits))
		return strtod(number->text, NULL);	/* ends at the first non-digit */
	memcpy(digits, number->text, number->length);
	digits[number->length] = '\0';
	return strtod(digits, NULL);
}
