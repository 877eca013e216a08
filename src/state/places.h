/*-------------------------------------------------------------------------
 *
 * places.h
 *		mixpeek.places and mixpeek.server_places: where servers lead to, and have led to.
 *
 * All functions must be called in a transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_PLACES_H
#define MIXPEEK_PLACES_H

#include "remote/server.h"

/*
 * Note where a server leads to now.  Returns false if it has led elsewhere when this was noted last, or
 * when documents were sent.
 */
extern bool places_note(const ServerPlace *server);

/* Return a place in words, palloc'd. */
extern char *places_describe(int64 place);

/* Documents of a server's mirrors that are at another place. */
typedef struct LeftDocuments
{
	int64		place;
	int64		documents;
	int64		tables;
} LeftDocuments;

/* Return those of all places but this one, as a List of LeftDocuments. */
extern List *places_list_left(const ServerPlace *server);

#endif							/* MIXPEEK_PLACES_H */
