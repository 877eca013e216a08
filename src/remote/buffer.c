/*-------------------------------------------------------------------------
 *
 * buffer.c
 *		Memory that libcurl's callbacks may enlarge.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "remote/buffer.h"
#include "remote/room.h"

#define FIRST_SIZE		4096	/* most answers are smaller */

size_t
buffer_size_for(const HttpBuffer *buffer, size_t len)
{
	size_t		needed = buffer->len + len + 1;

	if (needed <= buffer->size)
		return buffer->size;

	return Max(Max(Min(buffer->size * 2, ROOM_LARGEST + 1), needed), FIRST_SIZE);
}

bool
buffer_append(HttpBuffer *buffer, const char *data, size_t len)
{
	size_t		size = buffer_size_for(buffer, len);

	if (size > buffer->size)
	{
		char	   *enlarged = realloc(buffer->data, size);

		if (enlarged == NULL)
			return false;
		buffer->data = enlarged;
		buffer->size = size;
	}
	if (len > 0)
		memcpy(buffer->data + buffer->len, data, len);
	buffer->len += len;
	buffer->data[buffer->len] = '\0';

	return true;
}

void
buffer_reset(HttpBuffer *buffer, size_t keep)
{
	buffer->len = 0;

	if (buffer->size > keep)
	{
		free(buffer->data);
		buffer->data = NULL;
		buffer->size = 0;
	}
}
