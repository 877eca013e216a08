/*
 * record.c
 *	  The last 1000 requests as JSON, in a ring.
 */
#include "record.h"

#include <string.h>

#include "options.h"

#define SIZE 1000
#define MAX_TEXT 4096

static struct
{
	Buffer		text;			/* a JSON object but for its end */
	unsigned	status;
}			ring[SIZE];
static long next = 1;			/* number of the next request */
static long first = 1;			/* ... and of the oldest to be shown */

static void
add_text(Buffer *into, const char *name, const char *text, size_t length)
{
	buffer_printf(into, ",\"%s\":", name);
	if (text)
		buffer_json(into, text, length);
	else
		buffer_literal(into, "null");
}

/* The number of bytes, at most so many, which does not split a character. */
static size_t
cut(const Buffer *body)
{
	size_t		length = body->length < MAX_TEXT ? body->length : MAX_TEXT;

	while (length < body->length && length && (body->data[length] & 0xC0) == 0x80)
		length--;
	return length;
}

/* Returns a number for record_status(); 0 without --record. */
long
record_request(const Request *request)
{
	Buffer	   *text = &ring[next % SIZE].text;
	size_t		path = strcspn(request->uri, "?");
	const char *query = request->query;

	if (!options.record)
		return 0;
	text->length = 0;
	ring[next % SIZE].status = 0;
	buffer_printf(text, "{\"number\":%ld", next);
	add_text(text, "method", request->method, strlen(request->method));
	add_text(text, "path", request->uri, path);
	add_text(text, "query", query, query ? strlen(query) : 0);
	add_text(text, "authorization", request->authorization,
			 request->authorization ? strlen(request->authorization) : 0);
	add_text(text, "namespace", request->namespace, request->namespace ? strlen(request->namespace) : 0);
	add_text(text, "content_type", request->content_type,
			 request->content_type ? strlen(request->content_type) : 0);
	buffer_printf(text, ",\"body_length\":%zu", request->body.length);
	add_text(text, "body", request->body.length ? request->body.data : "", cut(&request->body));
	return next++;
}

/* How it ended; a status of 0 stays where nothing was answered. */
void
record_status(long number, unsigned status)
{
	if (number > next - SIZE && number >= first && number)
		ring[number % SIZE].status = status;
}

void
record_render(Buffer *into)
{
	long		from = next - first > SIZE - 1 ? next - SIZE + 1 : first;

	buffer_char(into, '[');
	for (long i = from; i < next; i++)
	{
		if (i > from)
			buffer_char(into, ',');
		buffer_add(into, ring[i % SIZE].text.data, ring[i % SIZE].text.length);
		buffer_printf(into, ",\"status\":%u}", ring[i % SIZE].status);
	}
	buffer_char(into, ']');
}

void
record_clear(void)
{
	first = next;
}
