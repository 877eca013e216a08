/*-------------------------------------------------------------------------
 *
 * buffer.h
 *		Memory that libcurl's callbacks may enlarge.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_BUFFER_H
#define MIXPEEK_BUFFER_H

/* Malloc'd bytes.  Must be zero-initialized. */
typedef struct HttpBuffer
{
	char	   *data;			/* with a NUL behind them, or NULL */
	size_t		len;
	size_t		size;			/* bytes allocated */
} HttpBuffer;

/* Return the size that the buffer will have after buffer_append() of len bytes. */
extern size_t buffer_size_for(const HttpBuffer *buffer, size_t len);

/* Append data and a NUL; return false, and change nothing, if there is no memory. */
extern bool buffer_append(HttpBuffer *buffer, const char *data, size_t len);

/* Empty the buffer, and free its memory if that is more than "keep" bytes. */
extern void buffer_reset(HttpBuffer *buffer, size_t keep);

#endif							/* MIXPEEK_BUFFER_H */
