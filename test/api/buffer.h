/*
 * buffer.h
 *	  A growable byte buffer.  Running out of memory ends the program: this
 *	  is a test server.
 */
#ifndef BUFFER_H
#define BUFFER_H

#include <stdbool.h>
#include <stddef.h>

typedef struct Buffer
{
	char	   *data;
	size_t		length;
	size_t		capacity;
} Buffer;

#define buffer_literal(buffer, text) buffer_add(buffer, text, sizeof(text) - 1)

extern void *allocate(size_t size);
extern char *copy_bytes(const char *bytes, size_t length);

extern void buffer_reserve(Buffer *buffer, size_t more);
extern void buffer_add(Buffer *buffer, const void *bytes, size_t length);
extern void buffer_char(Buffer *buffer, char c);
extern void buffer_text(Buffer *buffer, const char *text);
extern void buffer_printf(Buffer *buffer, const char *format,...)
			__attribute__((format(printf, 2, 3)));
extern void buffer_json(Buffer *buffer, const char *bytes, size_t length);
extern void buffer_json_text(Buffer *buffer, const char *text);
extern const char *buffer_terminate(Buffer *buffer);
extern void buffer_free(Buffer *buffer);

#endif
