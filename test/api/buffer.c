/*
 * buffer.c
 *	  A growable byte buffer, and JSON string quoting.
 */
#include "buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
out_of_memory(void)
{
	fputs("mixpeek_server: out of memory\n", stderr);
	exit(1);
}

void *
allocate(size_t size)
{
	void	   *memory = calloc(1, size ? size : 1);

	if (!memory)
		out_of_memory();
	return memory;
}

/* A NUL-terminated copy, which the caller frees. */
char *
copy_bytes(const char *bytes, size_t length)
{
	char	   *copy = malloc(length + 1);

	if (!copy)
		out_of_memory();
	memcpy(copy, bytes, length);
	copy[length] = '\0';
	return copy;
}

/* Makes room for so many more bytes and a NUL. */
void
buffer_reserve(Buffer *buffer, size_t more)
{
	size_t		needed = buffer->length + more + 1;
	size_t		capacity = buffer->capacity ? buffer->capacity : 256;

	if (needed <= buffer->capacity)
		return;
	while (capacity < needed)
		capacity *= 2;
	buffer->data = realloc(buffer->data, capacity);
	if (!buffer->data)
		out_of_memory();
	buffer->capacity = capacity;
}

void
buffer_add(Buffer *buffer, const void *bytes, size_t length)
{
	buffer_reserve(buffer, length);
	memcpy(buffer->data + buffer->length, bytes, length);
	buffer->length += length;
}

void
buffer_char(Buffer *buffer, char c)
{
	buffer_reserve(buffer, 1);
	buffer->data[buffer->length++] = c;
}

void
buffer_text(Buffer *buffer, const char *text)
{
	buffer_add(buffer, text, strlen(text));
}

void
buffer_printf(Buffer *buffer, const char *format,...)
{
	va_list		arguments;
	int			length;

	va_start(arguments, format);
	length = vsnprintf(NULL, 0, format, arguments);
	va_end(arguments);
	buffer_reserve(buffer, length);
	va_start(arguments, format);
	vsnprintf(buffer->data + buffer->length, length + 1, format, arguments);
	va_end(arguments);
	buffer->length += length;
}

/* Adds bytes as a JSON string; what is not UTF-8 is the caller's fault. */
void
buffer_json(Buffer *buffer, const char *bytes, size_t length)
{
	buffer_reserve(buffer, length + 2);
	buffer_char(buffer, '"');
	for (size_t i = 0; i < length; i++)
	{
		unsigned char c = bytes[i];

		if (c == '"' || c == '\\')
		{
			buffer_char(buffer, '\\');
			buffer_char(buffer, c);
		}
		else if (c < 0x20)
			buffer_printf(buffer, "\\u%04x", c);
		else
			buffer_char(buffer, c);
	}
	buffer_char(buffer, '"');
}

/* The same for a C string; NULL becomes null. */
void
buffer_json_text(Buffer *buffer, const char *text)
{
	if (text)
		buffer_json(buffer, text, strlen(text));
	else
		buffer_literal(buffer, "null");
}

/* The content as a C string, valid until the next change. */
const char *
buffer_terminate(Buffer *buffer)
{
	buffer_reserve(buffer, 0);
	buffer->data[buffer->length] = '\0';
	return buffer->data;
}

void
buffer_free(Buffer *buffer)
{
	free(buffer->data);
	memset(buffer, 0, sizeof(*buffer));
}
