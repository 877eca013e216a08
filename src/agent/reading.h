/*-------------------------------------------------------------------------
 *
 * reading.h
 *		Reads rows of one mirror and renders them as documents.
 *
 * The worker does this for mirrors that call no function of a user, an owner's agent
 * for all others; see agent.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_READING_H
#define MIXPEEK_READING_H

#include "mirror/mirror.h"

/* Bytes of rendered documents that there is room for. */
typedef struct RenderingRoom
{
	int64		bytes;
	bool		one;			/* of one document, if it is the first */
} RenderingRoom;

/* What became of a key. */
typedef enum RowEnd
{
	ROW_NOT_FOUND,				/* there is no such row */
	ROW_FOUND,					/* it was handed over */
	ROW_FAILED,					/* it cannot be read or rendered; see problem */
	ROW_SKIPPED,				/* not read: others of the table took too long */
	ROW_LEFT					/* not read: no room is left for its bytes, or
								 * they were too many at once */
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
	const char *marker;			/* of the document that is known; NULL: the
								 * mirror's for the key */
	RowEnd		end;
	char	   *problem;		/* ROW_FAILED: why */
} ReadKey;

typedef struct Reading
{
	Mirror	   *mirror;
	int			nkeys;
	ReadKey    *keys;
	RenderingRoom room;			/* what does not fit is left */

	/* Takes a row over, which is valid during the call; may raise. */
	void		(*take_row) (void *arg, int i, const RenderedRow *row);
	void	   *arg;

	bool		together_too_long;	/* out: all rows at once took longer than
									 * they may */

	/* reading_run()'s own */
	int64		bytes;
	ReadKey   **sorted;
} Reading;

/*
 * Reads the rows of all keys, within some times mixpeek.read_timeout: together, and
 * where that fails one by one, so that a row that cannot be rendered fails alone.
 * Calls take_row for each that is found, and fills in end and problem, in the
 * current memory context.  In a transaction, with a lock on the table.  Raises nothing
 * but a cancel or a shutdown.
 */
extern void reading_run(Reading *reading);

#endif							/* MIXPEEK_READING_H */
