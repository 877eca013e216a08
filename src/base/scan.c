/*-------------------------------------------------------------------------
 *
 * scan.c
 *		Scanning JSON texts without parsing them into jsonb.
 *
 * A text is scanned in one pass without recursion.  One bit for each level says whether it
 * is an object or an array.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <ctype.h>

#include "base/scan.h"
#include "mb/pg_wchar.h"

/* The limit of an exponent: a larger one makes the number too long in any case. */
#define MAX_EXPONENT	100000000

/*
 * Each of the following functions takes a pointer to the beginning of a part of a JSON text, and
 * returns a pointer to its end, or NULL if the text is invalid.
 */
static const char *
skip_white_space(const char *p)
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
	static const bool plain[256] = {[' '...'!'] = true,['#'...'['] = true,[']'...255] = true};

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

/* Skip a number.  *zeros: the zeros to be added if it is written without an exponent. */
static const char *
skip_number(const char *p, int64 *zeros)
{
	int64		exponent = 0;

	*zeros = 0;
	if (*p == '-')
		p++;
	p = *p == '0' ? p + 1 : skip_digits(p);
	if (p && *p == '.')
		p = skip_digits(p + 1);
	if (p == NULL || (*p != 'e' && *p != 'E'))
		return p;
	p++;
	if (*p == '+' || *p == '-')
		p++;
	if (!isdigit((unsigned char) *p))
		return NULL;
	for (; isdigit((unsigned char) *p); p++)
		exponent = Min(exponent * 10 + (*p - '0'), MAX_EXPONENT);
	*zeros = exponent;
	return p;
}

static const char *
skip_word(const char *p, const char *word)
{
	return strncmp(p, word, strlen(word)) == 0 ? p + strlen(word) : NULL;
}

/* Skip a value that is neither an array nor an object. */
static const char *
skip_scalar(const char *p, JsonText *value)
{
	int64		zeros;

	if (*p == 'n')
		return skip_word(p, "null");
	value->scalars++;
	switch (*p)
	{
		case '"':
			return skip_string(p);
		case 't':
			return skip_word(p, "true");
		case 'f':
			return skip_word(p, "false");
		default:
			p = skip_number(p, &zeros);
			value->written += zeros;
			return p;
	}
}

/* Skip the name of a member and the colon, up to the beginning of its value. */
static const char *
skip_name(const char *p)
{
	p = skip_string(p);
	if (p == NULL)
		return NULL;
	p = skip_white_space(p);
	return *p == ':' ? skip_white_space(p + 1) : NULL;
}

/* The arrays and objects that a place is in, from the outermost one.  A bit is set if it is an object. */
typedef struct Levels
{
	int			n;
	uint8		objects[SCAN_MAX_DEPTH / 8];
} Levels;

static bool
push_level(Levels *levels, bool object)
{
	uint8		bit = 1 << levels->n % 8;

	if (levels->n == SCAN_MAX_DEPTH)
		return false;
	if (object)
		levels->objects[levels->n / 8] |= bit;
	else
		levels->objects[levels->n / 8] &= ~bit;
	levels->n++;
	return true;
}

static bool
in_object(const Levels *levels)
{
	return levels->objects[(levels->n - 1) / 8] & (1 << (levels->n - 1) % 8);
}

/*
 * Scan the beginning of a value.  If it is an array or object that is not empty, go up to its first value and
 * set *whole to false; otherwise skip all of it.
 */
static const char *
begin_value(const char *p, Levels *levels, JsonText *value, bool *whole)
{
	bool		object = *p == '{';

	value->values++;
	*whole = true;
	if (*p != '{' && *p != '[')
		return skip_scalar(p, value);
	if (!push_level(levels, object))
		return NULL;
	value->depth = Max(value->depth, levels->n);
	p = skip_white_space(p + 1);
	if (*p == (object ? '}' : ']'))
	{
		levels->n--;
		return p + 1;
	}
	*whole = false;
	if (!object)
		return p;
	value->values++;
	return skip_name(p);
}

/* From the end of a value, close the arrays and objects that end there and go to the beginning of the next value. */
static const char *
end_value(const char *p, Levels *levels, JsonText *value)
{
	while (levels->n > 0)
	{
		bool		object = in_object(levels);
		const char *rest = skip_white_space(p);

		if (*rest == ',')
		{
			rest = skip_white_space(rest + 1);
			if (!object)
				return rest;
			value->values++;
			return skip_name(rest);
		}
		if (*rest != (object ? '}' : ']'))
			return NULL;
		levels->n--;
		p = rest + 1;
	}
	return p;
}

bool
scan_value(const char *text, JsonText *value)
{
	Levels		levels;
	const char *p = text;

	levels.n = 0;
	memset(value, 0, sizeof(JsonText));
	value->start = text;
	do
	{
		bool		whole;

		value->end = p;
		p = begin_value(p, &levels, value, &whole);
		if (p && whole)
		{
			value->end = p;
			p = end_value(p, &levels, value);
		}
		if (p == NULL)
			return false;
	} while (levels.n > 0);
	value->end = p;
	value->written += p - text;
	return true;
}

bool
scan_text(const char *text, size_t len, JsonText *value)
{
	if (!scan_value(skip_white_space(text), value))
		return false;
	return skip_white_space(value->end) == text + len;
}

char *
scan_excess(const JsonText *value, const JsonBounds *bounds)
{
	if (value->depth > bounds->depth)
		return psprintf("%d levels of arrays and objects, more than %d", value->depth, bounds->depth);
	if (value->values > bounds->values)
		return psprintf(INT64_FORMAT " values, more than " INT64_FORMAT, value->values, bounds->values);
	if (value->written > bounds->written)
		return psprintf(INT64_FORMAT " bytes with its numbers written out, more than " INT64_FORMAT,
						value->written, bounds->written);
	return NULL;
}

/*
 * Items of an array or object
 */

bool
scan_items(const char *text, JsonItems *items)
{
	const char *p = skip_white_space(text);

	memset(items, 0, sizeof(JsonItems));
	items->named = *p == '{';
	items->place = p;
	if (*p != '{' && *p != '[')
		return false;
	items->place = p + 1;
	items->first = true;
	return true;
}

/* From the end of a bracket or an item, go to the value of the next item. */
static const char *
next_item(JsonItems *items, const char *p)
{
	p = skip_white_space(p);
	if (*p == (items->named ? '}' : ']'))
	{
		items->place = p + 1;
		items->ended = true;
		return NULL;
	}
	if (items->first)
		items->first = false;
	else if (*p == ',')
		p = skip_white_space(p + 1);
	else
		return NULL;
	if (!items->named)
		return p;
	items->name.start = p;
	items->name.end = skip_string(p);
	return skip_name(p);
}

bool
scan_next(JsonItems *items)
{
	const char *p = items->ended ? NULL : next_item(items, items->place);
	bool		right;

	if (p == NULL)
		return false;
	right = scan_value(p, &items->value);
	items->place = items->value.end;
	return right;
}

bool
scan_ended(const JsonItems *items, const char *end)
{
	return items->ended && (items->place == end || skip_white_space(items->place) == end);
}

/* Return the value of four hexadecimal digits. */
static pg_wchar
hex_number(const char *p)
{
	char		digits[5];

	strlcpy(digits, p, sizeof(digits));
	return strtol(digits, NULL, 16);
}

const char *
scan_escape(const char *p, unsigned char *bytes)
{
	static const char letters[] = "bfnrt";
	static const char meanings[] = "\b\f\n\r\t";
	const char *letter;
	pg_wchar	code;

	memset(bytes, 0, 5);
	if (p[1] != 'u')
	{
		letter = strchr(letters, p[1]);
		bytes[0] = letter ? meanings[letter - letters] : p[1];
		return p + 2;
	}
	code = hex_number(p + 2);
	p += 6;
	if (is_utf16_surrogate_first(code) && p[0] == '\\' && p[1] == 'u' &&
		is_utf16_surrogate_second(hex_number(p + 2)))
	{
		code = surrogate_pair_to_codepoint(code, hex_number(p + 2));
		p += 6;
	}
	unicode_to_utf8(code, bytes);
	return p;
}

bool
scan_string_is(const JsonText *string, const char *text)
{
	const char *end = string->end - 1;
	const char *p = string->start + 1;
	size_t		len = end - p;

	if (len == strlen(text))	/* an escape is longer than its value */
		return memcmp(p, text, len) == 0;
	if (len < strlen(text) || memchr(p, '\\', len) == NULL)
		return false;
	while (p < end && *text)
	{
		unsigned char bytes[5] = {*p};
		size_t		n;

		p = *p == '\\' ? scan_escape(p, bytes) : p + 1;
		n = strlen((char *) bytes);
		if (n == 0 || strncmp(text, (char *) bytes, n) != 0)
			return false;
		text += n;
	}
	return p == end && *text == '\0';
}
