/*-------------------------------------------------------------------------
 *
 * buffer.h
 *		Memory that libcurl's callbacks may enlarge.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_BUFFER_H
#define MIXPEEK_BUFFER_H

/* Memory that callbacks may enlarge; malloc'd. */
typedef struct HttpBuffer
{
	char	   *data;
	size_t		len;
	size_t		size;
} HttpBuffer;

/* How large it is to become when so many bytes are appended. */
extern size_t buffer_size_for(const HttpBuffer *buffer, size_t len);

/* Appends data and a terminating NUL; false if there is no memory. */
extern bool buffer_append(HttpBuffer *buffer, const char *data, size_t len);

/* Empties the buffer; gives back memory that was used for something big. */
extern void buffer_reset(HttpBuffer *buffer, size_t keep);

#endif							/* MIXPEEK_BUFFER_H */
