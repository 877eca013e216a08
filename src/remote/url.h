/*-------------------------------------------------------------------------
 *
 * url.h
 *		Parts of URLs: what a base_url may be, escaping, and the path of a
 *		collection's documents.
 *
 * The functions need no transaction and read no catalog.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_URL_H
#define MIXPEEK_URL_H

#include "lib/stringinfo.h"

/*
 * Check whether url may be used as base_url.  Return NULL, or what is wrong with it as
 * static text that follows "The value".  *plain says whether the scheme is http, and
 * *loopback whether the host is this machine; both are false if url is wrong.
 */
extern const char *url_check_base(const char *url, bool *plain, bool *loopback);

/*
 * Append text, in UTF-8, with each byte but RFC 3986's unreserved characters as %XX.
 * Raises only out of memory.
 */
extern void url_append_escaped(StringInfo dst, const char *text);

/*
 * Append the path of a collection's documents,
 * "/v1/collections/{collection}/documents", to dst.  collection is in UTF-8 and not yet
 * escaped.  Raises only out of memory.
 */
extern void url_append_documents(StringInfo dst, const char *collection);

#endif							/* MIXPEEK_URL_H */
