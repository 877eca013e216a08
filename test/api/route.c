/*
 * route.c
 *	  From a request's method and path to the operation, past the checks that
 *	  all operations share: key, namespace, collection.
 */
#include "route.h"

#include <stdlib.h>
#include <string.h>

#include "account.h"
#include "answer.h"
#include "batch.h"
#include "documents.h"
#include "list.h"
#include "namespace.h"
#include "options.h"
#include "store.h"
#include "taxonomy.h"
#include "traits.h"
#include "upsert.h"
#include "validate.h"

#define NO_TRAIT -1

#define ALL (CONTRACT_2025_09 | CONTRACT_2026_02 | CONTRACT_2026_10)
#define SINCE_2026_02 (CONTRACT_2026_02 | CONTRACT_2026_10)
#define COLLECTION "/v1/collections/{collection}"
#define DOCUMENTS COLLECTION "/documents"
#define NAMESPACE "/v1/namespaces/{namespace}"

/* What the checks before the operation have to know of it. */
enum
{
	ACCOUNT = 1,				/* it is about no namespace */
	CREATES = 2,				/* it needs a collection and a namespace that are there */
	SETTINGS = 4,				/* it counts as metadata, and needs a namespace that is there */
	READS = 8					/* it only reads, whatever its method */
};

/*
 * In order: a word that is an operation's is taken for it before an id.  A
 * contract has the route if it is among its contracts and the trait, if the
 * route has one, is on.
 */
static const struct Route
{
	const char *method;
	const char *path;
	int			contracts;
	int			trait;			/* NO_TRAIT, or its number */
	int			flags;
	void		(*run) (Request *request);
}			routes[] = {
	{"POST", DOCUMENTS, ALL, NO_TRAIT, CREATES, document_create},
	{"POST", DOCUMENTS "/list", ALL, NO_TRAIT, READS, document_list},
	{"PATCH", DOCUMENTS "/bulk", CONTRACT_2026_02, NO_TRAIT, 0, bulk_update},
	{"POST", DOCUMENTS "/batch", ALL, TRAIT_BATCHES, 0, batch_update},
	{"DELETE", DOCUMENTS "/batch", ALL, TRAIT_BATCHES, 0, batch_delete},
	{"GET", DOCUMENTS "/count", CONTRACT_2026_10, NO_TRAIT, 0, document_count},
	{"GET", DOCUMENTS "/{document}", ALL, NO_TRAIT, 0, document_get},
	{"PUT", DOCUMENTS "/{document}", ALL, NO_TRAIT, 0, document_put},
	{"PATCH", DOCUMENTS "/{document}", ALL, TRAIT_PATCH, 0, document_patch},
	{"DELETE", DOCUMENTS "/{document}", ALL, NO_TRAIT, 0, document_delete},
	{"GET", COLLECTION, CONTRACT_2026_10, NO_TRAIT, SETTINGS, collection_get},
	{"GET", COLLECTION "/lifecycle", CONTRACT_2026_10, NO_TRAIT, SETTINGS, collection_lifecycle},
	{"POST", COLLECTION "/apply-taxonomy", CONTRACT_2026_10, NO_TRAIT, SETTINGS, taxonomy_apply},
	{"GET", "/v1/tasks/{document}", CONTRACT_2026_10, NO_TRAIT, SETTINGS, taxonomy_task},
	{"POST", "/v1/documents/list", CONTRACT_2026_10, NO_TRAIT, READS, document_list},
	{"POST", "/v1/documents/batch-get", ALL, TRAIT_BATCH_GET, READS, batch_get},
	{"GET", "/v1/documents/{document}", CONTRACT_2026_10, NO_TRAIT, 0, document_get},
	{"PUT", "/v1/documents/{document}", CONTRACT_2026_10, NO_TRAIT, 0, document_put},
	{"PATCH", "/v1/documents/{document}", CONTRACT_2026_10, TRAIT_PATCH, 0, document_patch},
	{"POST", NAMESPACE "/documents/upsert", ALL, TRAIT_UPSERT, CREATES, document_upsert},
	{"GET", NAMESPACE "/documents/{document}", CONTRACT_2026_10, NO_TRAIT, 0, document_get},
	{"GET", NAMESPACE, SINCE_2026_02, NO_TRAIT, SETTINGS, namespace_get},
	{"PATCH", NAMESPACE, SINCE_2026_02, NO_TRAIT, SETTINGS, namespace_patch},
	{"POST", NAMESPACE "/ensure-indexes", CONTRACT_2026_10, NO_TRAIT, SETTINGS, namespace_ensure_indexes},
	{"GET", "/v1/me", CONTRACT_2026_10, NO_TRAIT, ACCOUNT | SETTINGS, account_me},
	{"GET", "/v1/organizations/billing/balance", CONTRACT_2026_10, NO_TRAIT, ACCOUNT | SETTINGS, account_balance},
	{NULL, NULL, 0, 0, 0, NULL}
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

/* Where the request keeps the path part that a pattern has a name for. */
static char **
named_part(Request *request, const char *pattern)
{
	return pattern[1] == 'c' ? &request->collection_name :
		pattern[1] == 'd' ? &request->document_id : &request->path_namespace;
}

static void
forget_parts(Request *request)
{
	free(request->collection_name);
	free(request->document_id);
	free(request->path_namespace);
	request->collection_name = request->document_id = request->path_namespace = NULL;
}

/* Whether the request's path is the route's; keeps the parts that the route has names for. */
static bool
match_path(Request *request, const char *pattern)
{
	const char *at = request->uri;

	while (*pattern)
	{
		if (*pattern == '{')
		{
			char	   *part = take_part(&at);

			if (!part)
				return false;
			*named_part(request, pattern) = part;
			pattern = strchr(pattern, '}') + 1;
		}
		else if (*pattern++ != *at++)
			return false;
	}
	return at_end(at);
}

static bool
offers(const struct Route *route)
{
	return route->contracts & options.contract && (route->trait == NO_TRAIT || trait(route->trait));
}

/*
 * Finds the operation once, and the names in its path.  If there is none, says
 * in allow, which may be NULL, what methods the path has.
 */
static bool
find_route(Request *request, Buffer *allow)
{
	if (request->route)
		return true;
	for (const struct Route *route = routes; route->method; route++)
	{
		forget_parts(request);
		if (!offers(route) || !match_path(request, route->path))
			continue;
		if (strcmp(route->method, request->method) == 0)
		{
			request->route = route;
			return true;
		}
		if (allow && allow->length)
			buffer_literal(allow, ", ");
		if (allow)
			buffer_text(allow, route->method);
	}
	forget_parts(request);
	return false;
}

bool
route_find(Request *request)
{
	return find_route(request, NULL);
}

/* What the request is counted as. */
Category
route_category(Request *request)
{
	return find_route(request, NULL) && !(request->route->flags & SETTINGS) ? CATEGORY_DATA : CATEGORY_METADATA;
}

/* Answers that there is no such namespace, unless reads are to find nothing in it. */
static bool
check_missing_namespace(Request *request)
{
	int			answer = trait(TRAIT_MISSING_NAMESPACE);

	if (answer == MISSING_NAMESPACE_FORBIDDEN)
		answer_error(request, 403, NULL, "Access to namespace denied");
	else if (answer == MISSING_NAMESPACE_INVALID)
		answer_refusal(request, 400, "BadRequestError", "invalid_namespace", NULL, "Invalid namespace");
	else if (request->route->flags & (CREATES | SETTINGS))
		answer_missing(request, "namespace", request->namespace);
	return !request->response;
}

/* Whether the namespace is there and known; answers if not. */
static bool
check_namespace(Request *request)
{
	static Checker checker;

	if (request->path_namespace)
		request->namespace = request->path_namespace;
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
	else if (!names_allow(&options.namespaces, request->namespace))
		return check_missing_namespace(request);
	return true;
}

/* Whether the collection, if the path names one, is there or may be missing; answers if not. */
static bool
check_collection(Request *request)
{
	if (!request->collection_name)
		return true;
	if (!names_allow(&options.collections, request->collection_name) &&
		(request->route->flags & (CREATES | SETTINGS) ||
		 trait(TRAIT_MISSING_COLLECTION) == MISSING_COLLECTION_NOT_FOUND))
	{
		answer_missing(request, "collection", request->collection_name);
		return false;
	}
	request->collection = store_collection(request->namespace, request->collection_name, false);
	return !(request->route->flags & CREATES) || collection_takes(request);
}

/* Whether the key may do what the request is for; answers if not. */
static bool
check_rights(Request *request)
{
	bool		reads = request->route->flags & READS || strcmp(request->method, "GET") == 0;

	return reads || account_may_write(request);
}

/* Does what the request asks for; it has an answer afterwards. */
void
route_request(Request *request)
{
	Buffer		allow = {0};
	double		ttl;

	if (trait_number(TRAIT_TTL, &ttl))
		store_expire(clock_wall() - ttl);
	if (!find_route(request, &allow))
	{
		answer_error(request, allow.length ? 405 : 404, NULL, allow.length ? "Method Not Allowed" : "Not Found");
		if (allow.length)
			answer_header(request, "Allow", buffer_terminate(&allow));
	}
	else if (!request->key)
		answer_error(request, 401, NULL, "%s", request->authorization ? "Invalid API key" : "Missing API key");
	else if (check_rights(request) &&
			 (request->route->flags & ACCOUNT || (check_namespace(request) && check_collection(request))))
		request->route->run(request);
	buffer_free(&allow);
}
