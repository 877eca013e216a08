/*
 * list_parts.h
 *	  A list on its way from request to answer, for list.c and list_answer.c.
 */
#ifndef LIST_PARTS_H
#define LIST_PARTS_H

#include "render.h"
#include "request.h"
#include "select.h"

typedef struct Listing
{
	long		limit;
	long		offset;
	bool		include_total;
	uint64_t	after;			/* a cursor: documents created after this one */
	char	   *cursor;
	const JsonNode *body;		/* NULL: none was sent */
	RenderOptions with;
	Filter	   *filter;
	Collection **sources;		/* whose documents are listed */
	size_t		source_count;
	Buffer		unknown;		/* names of collections that do not exist, a JSON list without brackets */
	long		partitions;		/* 0: the list is not divided */
	long		partition;
	Selection	matches;		/* only where they were looked for one by one */
	size_t		total;
} Listing;

typedef struct SortKey
{
	Document   *document;
	int			rank;			/* numbers, strings, anything else, nothing */
	double		number;
	char	   *text;
} SortKey;

extern bool list_given(const JsonNode *body, const char *name);
extern void list_make_key(SortKey *key, Document *document, const char *field);
extern int	list_compare_keys(const SortKey *a, const SortKey *b);

extern void list_answer_page(Request *request, Listing *l);
extern void list_answer_groups(Request *request, Listing *l);

#endif
