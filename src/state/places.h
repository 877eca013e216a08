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

typedef enum PlaceNews
{
	PLACE_KNOWN,
	PLACE_NEW,					/* of a server that was not known */
	PLACE_MOVED					/* the server has led elsewhere when this was
								 * noted last, or when documents were sent */
} PlaceNews;

/* Note where a server leads to now. */
extern PlaceNews places_note(const ServerPlace *server);

/* Forget the servers that are not among these, a List of ServerPlace. */
extern void places_forget_others(const List *servers);

/* Return a place in words, palloc'd. */
extern char *places_describe(int64 place);

/* Documents at another place than the one to which a server leads. */
typedef struct LeftDocuments
{
	int64		place;
	char	   *description;	/* of the place */
	int64		documents;		/* of the server's mirrors */
	int64		tables;			/* of these documents */
	int64		owed;			/* documents whose deletes are owed, of any
								 * server; only where this one has led last */
} LeftDocuments;

/* Return those of all places but the server's, as a List of LeftDocuments. */
extern List *places_list_left(const ServerPlace *server);

#endif							/* MIXPEEK_PLACES_H */
