/*
 * request.c
 *	  Reading a request: URL decoding, query parameters, the JSON body.
 */
#include "request.h"

#include <string.h>

static JsonDocument body_document;	/* of the request that was parsed last */

static int
hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' :
		c >= 'a' && c <= 'f' ? c - 'a' + 10 :
		c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Adds the decoded text; false for a broken or a NUL escape. */
bool
url_decode(const char *text, size_t length, Buffer *into)
{
	for (size_t i = 0; i < length; i++)
	{
		int			high,
					low;

		if (text[i] != '%')
		{
			buffer_char(into, text[i]);
			continue;
		}
		if (i + 2 >= length)
			return false;
		high = hex_digit(text[i + 1]);
		low = hex_digit(text[i + 2]);
		if (high < 0 || low < 0 || high + low == 0)
			return false;
		buffer_char(into, high * 16 + low);
		i += 2;
	}
	buffer_terminate(into);
	return true;
}

/* The decoded value of a query parameter; false if it is not there. */
bool
request_parameter(const Request *request, const char *name, Buffer *value)
{
	size_t		name_length = strlen(name);
	const char *at = request->query;

	value->length = 0;
	while (at && *at)
	{
		size_t		length = strcspn(at, "&");

		if (length > name_length && at[name_length] == '=' && strncmp(at, name, name_length) == 0)
			return url_decode(at + name_length + 1, length - name_length - 1, value);
		at += length + (at[length] == '&');
	}
	return false;
}

/*
 * The body's JSON, or NULL; valid until the next call, whoever makes it.  The
 * mistake is then in request_json_mistake().
 */
const JsonNode *
request_json(Request *request)
{
	return json_parse(&body_document, request->body.data ? request->body.data : "", request->body.length);
}

const JsonDocument *
request_json_mistake(void)
{
	return &body_document;
}
