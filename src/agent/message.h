/*-------------------------------------------------------------------------
 *
 * message.h
 *		What the worker and an agent say to each other.
 *
 * A message is a byte that says its kind, and values one after the other.  Both sides
 * are the same library in the same cluster, so numbers are in the machine's form.
 *
 * A request is one message:
 *
 *		READ		relation, collection, prefix of markers, the two parts of the room, number of
 *					keys; of each its text and its marker
 *		SCAN		relation, collection, number of keys at the most, key or none
 *		WRITE_BACK	relation, collection, number of keys; of each its text, document id
 *					and enrichments
 *
 * What comes back is as many messages as it takes, of which the last is END:
 *
 *		ROW			number of the key, bytes of content, bytes of features or -1
 *		BYTES		the next of these
 *		KEY_END		number of the key, RowEnd or WriteEnd, problem or none
 *		KEY			a key that was listed
 *		END			AgentEnd, how often mixpeek.read_timeout was over for a single row, whether it was
 *					for all of them together, problem or none
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

/* Bytes of one BYTES message at the most. */
#define MESSAGE_CHUNK		(16 * 1024)

extern void message_begin(StringInfo message, char kind);
extern void message_put_int(StringInfo message, int64 value);
extern void message_put_bytes(StringInfo message, const void *bytes, int len);	/* NULL: none */
extern void message_put_text(StringInfo message, const char *text); /* NULL: none */

/* A message that was received; what is taken out of it points into it. */
typedef struct MessageReader
{
	const char *at;
	const char *end;
} MessageReader;

extern char message_open(MessageReader *reader, const void *data, Size len);
extern int64 message_get_int(MessageReader *reader);
extern const char *message_get_bytes(MessageReader *reader, int *len);	/* NULL: none */
extern const char *message_get_text(MessageReader *reader); /* NULL: none */

#endif							/* MIXPEEK_MESSAGE_H */
