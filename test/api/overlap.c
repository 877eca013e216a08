/*
 * overlap.c
 *	  Counts the requests that come to change a document while another one that
 *	  changes it is under way: its work is not done, or its peer waits for the
 *	  answer.  A request has subjects: the ids of the documents that it names and
 *	  their markers, or the marker of the document that it creates.
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

static void
add_subject(Request *request, char kind, const char *scope, const char *name, size_t length)
{
	Buffer		text = {0};

	buffer_printf(&text, "%c %s ", kind, scope);
	buffer_add(&text, name, length);
	buffer_terminate(&text);
	request->subjects = realloc(request->subjects, (request->subject_count + 1) * sizeof(char *));
	request->subjects[request->subject_count++] = text.data;
}

/* Adds a document by its id and, if it is there and has a marker, by that. */
static void
add_document(Request *request, const char *id)
{
	const char *namespace = request->path_namespace ? request->path_namespace :
		request->namespace ? request->namespace : DEFAULT_NAMESPACE;
	const Document *document = store_find_in_namespace(namespace, id);

	add_subject(request, 'i', namespace, id, strlen(id));
	if (document && document->marker)
		add_subject(request, 'm', document->collection->name, document->marker, document->marker_length);
}

static void
add_listed(Request *request, const JsonNode *list)
{
	if (list && list->kind == JSON_ARRAY)
		JSON_ITEMS(list, item)
		{
			char	   *id = json_string(item->kind == JSON_OBJECT ? json_get(item, "document_id") : item);

			if (id)
				add_document(request, id);
			free(id);
		}
}

static void
add_created(Request *request, const JsonNode *body)
{
	const JsonNode *node = json_get(json_get(body, "metadata"), MARKER_FIELD);
	char	   *marker = json_string(node ? node : json_get(body, MARKER_FIELD));

	if (marker)
		add_subject(request, 'm', request->collection_name, marker, strlen(marker));
	free(marker);
}

static int
compare_subjects(const void *left, const void *right)
{
	return strcmp(*(char *const *) left, *(char *const *) right);
}

/* Finds what the request is to change, in order. */
static void
find_subjects(Request *request)
{
	bool		post = strcmp(request->method, "POST") == 0;
	const JsonNode *body;

	if (!route_find(request) || strcmp(request->method, "GET") == 0)
		return;
	body = request_json(request);
	if (request->document_id)
		add_document(request, request->document_id);
	else if (post && json_get(body, "documents"))
		add_listed(request, json_get(body, "documents"));
	else if (post && json_get(body, "updates"))
		add_listed(request, json_get(body, "updates"));
	else if (strcmp(request->method, "DELETE") == 0)
		add_listed(request, json_get(body, "document_ids"));
	else if (post && request->collection_name)
		add_created(request, body);
	if (request->subject_count)
		qsort(request->subjects, request->subject_count, sizeof(char *), compare_subjects);
}

/* The first subject that both requests have, or NULL. */
static const char *
common_subject(const Request *a, const Request *b)
{
	for (size_t i = 0, j = 0; i < a->subject_count && j < b->subject_count;)
	{
		int			order = strcmp(a->subjects[i], b->subjects[j]);

		if (order == 0)
			return a->subjects[i];
		if (order < 0)
			i++;
		else
			j++;
	}
	return NULL;
}

/* The request is about to be worked on. */
void
overlap_begin(Request *request)
{
	if (!first && !request->fault && options.latency <= 0)
		return;
	find_subjects(request);
	if (!request->subject_count)
		return;
	for (Request *other = first; other; other = other->subject_next)
	{
		const char *subject = common_subject(request, other);

		if (!subject || !is_under_way(other))
			continue;
		stats.overlaps++;
		fprintf(stderr, "overlap: %s %s while %s %s: %s\n", request->method, request->uri,
				other->method, other->uri, subject);
	}
	request->subject_next = first;
	first = request;
}

/* The request is answered, or its connection gone. */
void
overlap_end(Request *request)
{
	if (!request->subject_count)
		return;
	for (Request **at = &first; *at; at = &(*at)->subject_next)
		if (*at == request)
		{
			*at = request->subject_next;
			break;
		}
	for (size_t i = 0; i < request->subject_count; i++)
		free(request->subjects[i]);
	free(request->subjects);
	request->subjects = NULL;
	request->subject_count = 0;
}
