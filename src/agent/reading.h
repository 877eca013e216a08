/*-------------------------------------------------------------------------
 *
 * reading.h
 *		Reads rows of one mirror and renders them as documents.
 *
 * The worker does this for native mirrors, which call no function of a user; the
 * owner's agent does it for all others, see agents.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_READING_H
#define MIXPEEK_READING_H

#include "mirror/mirror.h"

/* How much may be rendered. */
typedef struct RenderingRoom
{
	int64		bytes;			/* of all documents */
	bool		one;			/* the first document may be larger than that */
} RenderingRoom;

/* The result of reading a key's row. */
typedef enum RowEnd
{
	ROW_NOT_FOUND,				/* there is no such row */
	ROW_FOUND,					/* it was given to take_row */
	ROW_FAILED,					/* reading or rendering raised an error; see
								 * problem */
	ROW_SKIPPED,				/* not read: other rows of the table took too
								 * long, or a partition is locked */
	ROW_LEFT					/* not read: no room is left for its document,
								 * or for reading so many rows at once */
} RowEnd;

/* A row's document in UTF-8; features is NULL if the template has none. */
typedef struct RenderedRow
{
	const char *content;
	int			content_len;
	const char *features;
	int			features_len;
} RenderedRow;

typedef struct ReadKey
{
	const char *key;
	const char *marker;			/* of the document that is stored; NULL: the
								 * one that the mirror has for the key */
	RowEnd		end;
	char	   *problem;		/* ROW_FAILED: why */
} ReadKey;

typedef struct Reading
{
	Mirror	   *mirror;
	int			nkeys;
	ReadKey    *keys;
	RenderingRoom room;

	/*
	 * Takes the i-th key's document, which is valid during the call.  May
	 * raise an error.
	 */
	void		(*take_row) (void *arg, int i, const RenderedRow *row);
	void	   *arg;

	bool		together_too_long;	/* out: reading all rows at once took
									 * longer than mixpeek.read_timeout */

	/* private to reading_run() */
	int64		bytes;			/* rendered so far */
	ReadKey   **sorted;			/* keys by text */
} Reading;

/*
 * Read the rows of all keys: all at once first; if that fails, one by one, so that a
 * row that cannot be rendered fails alone.  Takes at most AGENT_MAX_TIMEOUTS (serve.h)
 * times mixpeek.read_timeout.  Calls take_row for each row that is found, and sets
 * end and problem of each key; problem is in the current memory context.  Must be
 * called in a transaction, with a lock on the table.  Raises no error except for a
 * cancel or a shutdown.
 */
extern void reading_run(Reading *reading);

#endif							/* MIXPEEK_READING_H */
