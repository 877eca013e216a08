/*
 * overlap.c
 *	  Counts the requests that come to change a document while another one that
 *	  changes it is under way: its work is not done, or its peer waits for the
 *	  answer.  Creates are known by their marker, the others by their document's.
 *
 * Without faults and latency no request meets another, and nothing is done.
 */
#define _GNU_SOURCE
#include "overlap.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "route.h"
#include "server.h"
#include "stats.h"
#include "store.h"

static Request *first;			/* those that have a subject */

/* Its work is still to be done, or somebody still waits for its answer. */
static bool
is_under_way(const Request *request)
{
	struct pollfd peer = {.fd = request_socket(request),.events = POLLRDHUP};

	return request->phase <= PHASE_WORK || poll(&peer, 1, 0) == 0;
}

static const char *
marker_of(Request *request)
{
	static Buffer text;
	const JsonNode *metadata;
	char	   *marker;
	Document   *document;

	text.length = 0;
	if (!route_find(request))
		return NULL;
	if (!request->document_id && strcmp(request->method, "POST") == 0)
	{
		metadata = json_get(request_json(request), "metadata");
		marker = metadata ? json_string(json_get(metadata, MARKER_FIELD)) : NULL;
		if (!marker)
			return NULL;
		buffer_text(&text, marker);
		free(marker);
		return buffer_terminate(&text);
	}
	if (!request->document_id || (strcmp(request->method, "PUT") != 0 && strcmp(request->method, "DELETE") != 0))
		return NULL;
	document = store_find(store_collection(request->namespace ? request->namespace : DEFAULT_NAMESPACE,
										   request->collection_name, false), request->document_id);
	if (!document || !document->marker)
		return NULL;
	buffer_add(&text, document->marker, document->marker_length);
	return buffer_terminate(&text);
}

/* The request is about to be worked on. */
void
overlap_begin(Request *request)
{
	const char *marker;

	if (!first && !request->fault && options.latency <= 0)
		return;
	marker = marker_of(request);
	if (!marker)
		return;
	request->subject = copy_bytes(marker, strlen(marker));
	for (Request *other = first; other; other = other->subject_next)
		if (strcmp(other->subject, marker) == 0 &&
			strcmp(other->collection_name, request->collection_name) == 0 && is_under_way(other))
		{
			stats.overlaps++;
			fprintf(stderr, "overlap: %s %s while %s %s: %s\n", request->method, request->uri,
					other->method, other->uri, marker);
		}
	request->subject_next = first;
	first = request;
}

/* The request is answered, or its connection gone. */
void
overlap_end(Request *request)
{
	if (!request->subject)
		return;
	for (Request **at = &first; *at; at = &(*at)->subject_next)
		if (*at == request)
		{
			*at = request->subject_next;
			break;
		}
	free(request->subject);
	request->subject = NULL;
}
