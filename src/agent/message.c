/*-------------------------------------------------------------------------
 *
 * message.c
 *		The messages between the worker and an agent.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "agent/message.h"

void
message_begin(StringInfo message, char kind)
{
	resetStringInfo(message);
	appendStringInfoChar(message, kind);
}

void
message_put_int(StringInfo message, int64 value)
{
	appendBinaryStringInfo(message, (const char *) &value, sizeof(value));
}

/* A zero byte follows, so that the reader can use text in place. */
void
message_put_bytes(StringInfo message, const void *bytes, int len)
{
	message_put_int(message, bytes ? len : -1);
	if (bytes == NULL)
		return;
	appendBinaryStringInfo(message, bytes, len);
	appendStringInfoChar(message, '\0');
}

void
message_put_text(StringInfo message, const char *text)
{
	message_put_bytes(message, text, text ? strlen(text) : 0);
}

char
message_open(MessageReader *reader, const void *data, Size len)
{
	if (len == 0)
		elog(ERROR, "empty message between worker and agent");
	reader->at = (const char *) data + 1;
	reader->end = (const char *) data + len;
	return *(const char *) data;
}

static const char *
take_bytes(MessageReader *reader, int64 len)
{
	const char *at = reader->at;

	if (len < 0 || len > reader->end - at)
		elog(ERROR, "short message between worker and agent");
	reader->at += len;
	return at;
}

int64
message_get_int(MessageReader *reader)
{
	int64		value;

	memcpy(&value, take_bytes(reader, sizeof(value)), sizeof(value));
	return value;
}

const char *
message_get_bytes(MessageReader *reader, int *len)
{
	int64		n = message_get_int(reader);

	*len = (int) n;
	return n < 0 ? NULL : take_bytes(reader, n + 1);
}

const char *
message_get_text(MessageReader *reader)
{
	int			len;

	return message_get_bytes(reader, &len);
}
