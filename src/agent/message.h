/*-------------------------------------------------------------------------
 *
 * message.h
 *		The messages between the worker and an agent.
 *
 * A message is one byte, its kind, followed by values.  Both sides are the same
 * library in the same cluster, so numbers have the machine's representation.
 *
 * A request is one message:
 *
 *		READ		relation, collection, prefix of markers, room (bytes; whether one document
 *					may exceed it), number of keys; for each key its text and marker or none
 *		SCAN		relation, collection, maximum number of keys, key to begin after or none
 *		WRITE_BACK	relation, collection, number of keys; for each key its text, document id,
 *					whether to clear the enrichments, and enrichments
 *
 * The reply is any number of messages, of which the last is END:
 *
 *		ROW			index of the key, bytes of content, bytes of features or -1
 *		BYTES		the next bytes of the row's content and features
 *		KEY_END		index of the key, RowEnd or WriteEnd, problem or none
 *		KEY			a key that was listed
 *		END			AgentEnd, number of keys that exceeded mixpeek.read_timeout each, whether
 *					all rows read at once exceeded it, problem or none
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_MESSAGE_H
#define MIXPEEK_MESSAGE_H

#include "lib/stringinfo.h"

#define MESSAGE_READ		'r'
#define MESSAGE_SCAN		's'
#define MESSAGE_WRITE_BACK	'w'

#define MESSAGE_ROW			'R'
#define MESSAGE_BYTES		'B'
#define MESSAGE_KEY_END		'E'
#define MESSAGE_KEY			'K'
#define MESSAGE_END			'.'

/* Most bytes that one BYTES message carries. */
#define MESSAGE_CHUNK		(16 * 1024)

/* How a request ended. */
typedef enum AgentEnd
{
	AGENT_DONE,					/* each key has its result */
	AGENT_CHANGED,				/* the mirror is not the one that the worker
								 * knows */
	AGENT_LOCKED,				/* another session has locked the table */
	AGENT_FAILED,				/* as a whole; see problem */

	/* not sent by the agent, but set by the worker */
	AGENT_DIED,					/* the agent ended during the request; see
								 * problem */
	AGENT_NOT_BEGUN				/* the agent ended before the request */
} AgentEnd;

/* The result of a key's write-back. */
typedef enum WriteEnd
{
	WRITE_UNKNOWN,
	WRITE_DONE,
	WRITE_MISSED,				/* another session has locked the row, or no
								 * time was left */
	WRITE_FAILED				/* see the result's problem */
} WriteEnd;

/* Empty the buffer and begin a message in it. */
extern void message_begin(StringInfo message, char kind);

/* Append a value.  Bytes and text may be NULL, which the reader can tell from empty ones. */
extern void message_put_int(StringInfo message, int64 value);
extern void message_put_bytes(StringInfo message, const void *bytes, int len);
extern void message_put_text(StringInfo message, const char *text);

/* A received message that is being read. */
typedef struct MessageReader
{
	const char *at;
	const char *end;
} MessageReader;

/* Begin to read a message and return its kind.  Raises an error if it is empty. */
extern char message_open(MessageReader *reader, const void *data, Size len);

/*
 * Return the next value, which must have been put as one of that type.  Bytes and
 * text point into the message; both are followed by a zero byte, and are NULL if
 * NULL was put.  Raises an error if the message is too short.
 */
extern int64 message_get_int(MessageReader *reader);
extern const char *message_get_bytes(MessageReader *reader, int *len);
extern const char *message_get_text(MessageReader *reader);

#endif							/* MIXPEEK_MESSAGE_H */
