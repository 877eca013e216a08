/*
 * route.c
 *	  From a request's method and path to the operation, past the checks that
 *	  all operations share: key, namespace, collection.
 */
#include "route.h"

#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "batch.h"
#include "documents.h"
#include "list.h"
#include "options.h"
#include "store.h"
#include "validate.h"

#define BOTH (CONTRACT_2025_09 | CONTRACT_2026_02)
#define PREFIX "/v1/collections/"

/* In order: a word that is an operation's is taken for it before an id. */
static const struct Route
{
	const char *method;
	const char *tail;			/* after .../documents; "*": a document id */
	int			contracts;
	void		(*run) (Request *request);
}			routes[] = {
	{"POST", "", BOTH, document_create},
	{"POST", "list", BOTH, document_list},
	{"PATCH", "bulk", CONTRACT_2026_02, bulk_update},
	{"POST", "batch", CONTRACT_2026_02, batch_update},
	{"DELETE", "batch", CONTRACT_2026_02, batch_delete},
	{"GET", "*", BOTH, document_get},
	{"PUT", "*", BOTH, document_put},
	{"PATCH", "*", CONTRACT_2026_02, document_patch},
	{"DELETE", "*", BOTH, document_delete},
	{NULL, NULL, 0, NULL}
};

/* Decodes one path part up to a slash or the end; NULL if it is broken or empty. */
static char *
take_part(const char **at)
{
	size_t		length = strcspn(*at, "/?");
	Buffer		part = {0};

	if (!length || !url_decode(*at, length, &part))
	{
		buffer_free(&part);
		return NULL;
	}
	*at += length;
	return part.data;
}

static bool
at_end(const char *at)
{
	return *at == '\0' || *at == '?';
}

/* Splits the path into collection and document id (or operation, or nothing), once. */
bool
route_split(Request *request)
{
	const char *at = request->uri;
	char	   *word;
	bool		documents;

	if (request->split)
		return true;
	free(request->collection_name);
	free(request->document_id);
	request->document_id = NULL;
	request->collection_name = NULL;
	if (strncmp(at, PREFIX, sizeof(PREFIX) - 1) != 0)
		return false;
	at += sizeof(PREFIX) - 1;
	request->collection_name = take_part(&at);
	if (!request->collection_name || *at++ != '/' || !(word = take_part(&at)))
		return false;
	documents = strcmp(word, "documents") == 0;
	free(word);
	if (documents && !at_end(at))
	{
		at++;
		request->document_id = take_part(&at);
		documents = request->document_id && at_end(at);
	}
	return request->split = documents;
}

/* The operation, or NULL; then allow says which methods the path has. */
static const struct Route *
find_route(const Request *request, Buffer *allow)
{
	const char *tail = request->document_id ? request->document_id : "";

	for (const struct Route *route = routes; route->method; route++)
	{
		if (!(route->contracts & options.contract))
			continue;
		if (strcmp(route->tail, tail) != 0 && !(*tail && strcmp(route->tail, "*") == 0))
			continue;
		if (strcmp(route->method, request->method) == 0)
			return route;
		if (allow->length)
			buffer_literal(allow, ", ");
		buffer_text(allow, route->method);
	}
	return NULL;
}

/* Whether the namespace is there and known; answers if not. */
static bool
check_namespace(Request *request)
{
	static Checker checker;

	if (!request->namespace && options.contract == CONTRACT_2026_02)
	{
		checker_begin(&checker, "header");
		checker_enter(&checker, "X-Namespace");
		checker_error(&checker, "missing", "Field required");
		checker_answer(&checker, request);
		return false;
	}
	if (!request->namespace)
		request->namespace = DEFAULT_NAMESPACE;
	else if (options.namespaces.count && !names_contain(&options.namespaces, request->namespace))
	{
		answer_error(request, 403, NULL, "Access to namespace denied");
		return false;
	}
	return true;
}

static bool
check_collection(Request *request)
{
	if (options.collections.count && !names_contain(&options.collections, request->collection_name))
	{
		answer_error(request, 404, "{\"resource\":\"collection\"}", "Collection not found");
		return false;
	}
	request->collection = store_collection(request->namespace, request->collection_name, false);
	return true;
}

/* Does what the request asks for; it has an answer afterwards. */
void
route_request(Request *request)
{
	const struct Route *route;
	Buffer		allow = {0};

	if (!route_split(request))
	{
		answer_error(request, 404, NULL, "Not Found");
		return;
	}
	route = find_route(request, &allow);
	if (!route)
	{
		answer_error(request, 405, NULL, "Method Not Allowed");
		answer_header(request, "Allow", buffer_terminate(&allow));
	}
	else if (!request->key)
		answer_error(request, 401, NULL, "%s", request->authorization ? "Invalid API key" : "Missing API key");
	else if (check_namespace(request) && check_collection(request))
		route->run(request);
	buffer_free(&allow);
}
