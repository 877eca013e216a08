/*-------------------------------------------------------------------------
 *
 * listing.h
 *		The documents of a collection, page by page.
 *
 * A list answer may be large and may contain anything.  It stays a text, which is
 * scanned, and only what is wanted of it becomes a value (base/scan.h).  The worker reads
 * single pages, which are answers to its look-ups; a session pages through a collection.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_LISTING_H
#define MIXPEEK_LISTING_H

#include "base/scan.h"
#include "lib/stringinfo.h"
#include "remote/http.h"
#include "utils/jsonb.h"

/*
 * One page
 */

/* The parts of a list answer, within its text.  start is NULL if a part is missing. */
typedef struct ListPage
{
	JsonText	results;		/* an array, if the API keeps to its contract */
	JsonText	pagination;
} ListPage;

/*
 * Find the parts of a list answer of len bytes, which is UTF-8 and ends with a NUL.  If it is
 * JSON of another kind, both parts are missing.  Return false if it is not JSON; *wrong is then
 * where it is wrong.
 */
extern bool listing_read_page(const char *text, size_t len, ListPage *page, const char **wrong);

/*
 * Start to go through the page's documents with scan_next(); return false if results is
 * missing or no array.  Elements may be any JSON.  answer_listed() (answer.h) reads the id and
 * the marker of one that is an object.
 */
extern bool listing_scan_documents(const ListPage *page, JsonItems *items);

/*
 * Check whether the page is one of several: a document that is not in it may be in another one.  n is
 * the number of documents in it, page_size the number requested.  An empty page is the only one.
 */
extern bool listing_is_partial(const ListPage *page, int n, int page_size);

/*
 * Append the query of the request for a page.  page is what listing_next_page() has returned, NULL for
 * the first one.
 */
extern void listing_append_query(StringInfo path, const char *page, int page_size);

/*
 * Return a text for the page after one of n documents, palloc'd; NULL if that was the last one.  page is
 * NULL for the first page.  Raises ERRCODE_PROTOCOL_VIOLATION if the page's cursor cannot be followed.
 */
extern char *listing_next_page(const ListPage *this_page, const char *page, int n, int page_size);

/*
 * All pages, for sessions
 */

typedef struct ListPager ListPager;

/* Which documents are wanted, and in which order; all pointers may be NULL. */
typedef struct ListQuery
{
	Jsonb	   *filters;
	Jsonb	   *sort;
	const char *search;
	bool		return_url;
	bool		return_vectors;
	int64		max_documents;	/* -1: all */
} ListQuery;

/*
 * Return a pager over the documents of a collection (its name is in the database encoding).
 * It is created in the current memory context, refers to server, and holds one page at a
 * time.  Nothing is sent before listing_next().  Raises ERRCODE_INVALID_PARAMETER_VALUE if
 * the query is not as the API's contract says.
 */
extern ListPager *listing_open(const MixpeekServer *server, const char *collection, const ListQuery *query);

/*
 * Find the next document, an object in UTF-8; return false after the last one.  A page is
 * requested only when its first document is.  The text is valid until the next call.  Raises
 * what call_api() does, and ERRCODE_PROTOCOL_VIOLATION if the answer is no list of objects or
 * its cursor cannot be followed.
 */
extern bool listing_next(ListPager *pager, JsonText *document);

/*
 * Return a document as jsonb.  Warns of values that jsonb cannot hold, and leaves them out; raises
 * ERRCODE_PROTOCOL_VIOLATION if its id is one of them.
 */
extern Jsonb *listing_document_jsonb(const JsonText *document);

#endif							/* MIXPEEK_LISTING_H */
