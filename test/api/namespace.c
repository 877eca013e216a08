/*
 * namespace.c
 *	  Namespaces and collections as things of their own: payload indexes, counts.
 *	  A namespace's list of indexes is kept until the server ends.
 */
#include "namespace.h"

#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "options.h"
#include "schema.h"
#include "store.h"
#include "traits.h"

typedef struct Namespace
{
	char	   *name;
	char	   *declared;		/* the payload indexes, a JSON list */
	char	   *built;			/* those of them that filters can use */
	struct Namespace *next;
} Namespace;

static Namespace *namespaces;

static const char *const protected_fields[] = {
	"internal_id", "namespace_id", "collection_id", "document_id", "bucket_id", "object_id",
	"root_object_id", "root_bucket_id", "source_object_id", "created_at", "updated_at", NULL
};

static char *
copy_text(const char *text)
{
	return copy_bytes(text, strlen(text));
}

/* The namespace's entry, which is made where there is none. */
static Namespace *
find(const char *name)
{
	Namespace  *namespace = namespaces;

	while (namespace && strcmp(namespace->name, name) != 0)
		namespace = namespace->next;
	if (namespace)
		return namespace;
	namespace = allocate(sizeof(Namespace));
	*namespace = (Namespace) {copy_text(name), copy_text("[]"), copy_text("[]"), namespaces};
	return namespaces = namespace;
}

static bool
is_protected(const char *field)
{
	for (int i = 0; protected_fields[i]; i++)
		if (strcmp(protected_fields[i], field) == 0)
			return true;
	return false;
}

static bool
is_listed(const JsonNode *list, const char *field)
{
	JSON_ITEMS(list, item)
	{
		if (json_is(json_get(item, "field_name"), field))
			return true;
	}
	return false;
}

/* Whether a filter on the field can use an index of the namespace. */
bool
namespace_has_index(const char *name, const char *field)
{
	static JsonDocument parsed;
	const Namespace *namespace = find(name);

	return is_protected(field) ||
		is_listed(json_parse(&parsed, namespace->built, strlen(namespace->built)), field);
}

static void
build_indexes(Namespace *namespace)
{
	free(namespace->built);
	namespace->built = copy_text(namespace->declared);
}

static size_t
count_documents(const char *namespace)
{
	size_t		count = 0;

	for (const Collection *c = store_collections(); c; c = c->next)
		if (strcmp(c->namespace, namespace) == 0)
			count += c->count;
	return count;
}

static void
answer_namespace(Request *request, const Namespace *namespace)
{
	Buffer		body = {0};

	buffer_literal(&body, "{\"namespace_id\":");
	buffer_json_text(&body, namespace->name);
	buffer_literal(&body, ",\"namespace_name\":");
	buffer_json_text(&body, namespace->name);
	buffer_printf(&body, ",\"description\":null,\"feature_extractors\":[],\"payload_indexes\":%s,"
				  "\"document_count\":%zu,\"auto_create_indexes\":false,\"mode\":\"managed\"}",
				  namespace->declared, count_documents(namespace->name));
	answer_json(request, 200, &body);
}

void
namespace_get(Request *request)
{
	answer_namespace(request, find(request->namespace));
}

/* Answers 400 where a list of indexes has a field twice, or one of the API's own. */
static bool
check_indexes(Request *request, const JsonNode *list)
{
	JSON_ITEMS(list, item)
	{
		char	   *field = json_string(json_get(item, "field_name"));
		int			count = 0;

		JSON_ITEMS(list, other)
			count += json_is(json_get(other, "field_name"), field);
		if (is_protected(field))
			answer_refusal(request, 400, "BadRequestError", "protected_index", NULL,
						   "A protected index cannot be changed");
		else if (count > 1)
			answer_refusal(request, 400, "BadRequestError", "duplicate_index", NULL,
						   "A payload index is listed twice");
		free(field);
		if (request->response)
			return false;
	}
	return true;
}

/* Replaces the namespace's list of indexes, if the request has one. */
void
namespace_patch(Request *request)
{
	const JsonNode *body = request_checked(request, &schema_namespace);
	const JsonNode *list = body ? json_get(body, "payload_indexes") : NULL;
	Namespace  *namespace = find(request->namespace);

	if (!body)
		return;
	if (list && list->kind == JSON_ARRAY)
	{
		if (!check_indexes(request, list))
			return;
		free(namespace->declared);
		namespace->declared = copy_bytes(list->text, list->length);
		if (trait(TRAIT_INDEX_BUILT_BY) == 0)
			build_indexes(namespace);
	}
	answer_namespace(request, namespace);
}

void
namespace_ensure_indexes(Request *request)
{
	static JsonDocument parsed;
	Namespace  *namespace = find(request->namespace);
	Buffer		names = {0};
	Buffer		body = {0};

	build_indexes(namespace);
	JSON_ITEMS(json_parse(&parsed, namespace->built, strlen(namespace->built)), item)
	{
		const JsonNode *field = json_get(item, "field_name");

		buffer_printf(&names, "%s%.*s", names.length ? "," : "", (int) field->length, field->text);
	}
	buffer_terminate(&names);
	buffer_printf(&body, "{\"ensured\":[%s],\"rebuilt\":[],\"skipped\":[],\"created\":[%s]}", names.data, names.data);
	answer_json(request, 200, &body);
	buffer_free(&names);
}

static void
add_vector_indexes(Buffer *into)
{
	for (int i = 0; i < options.vector_indexes.count; i++)
	{
		const char *index = options.vector_indexes.items[i];
		int			name = strcspn(index, ":");

		buffer_printf(into, "%s{\"name\":\"%.*s\",\"feature_uri\":\"%.*s\",\"type\":\"single\","
					  "\"index\":{\"name\":\"%.*s\",\"dimensions\":%s,\"distance\":\"cosine\"}}", i ? "," : "",
					  name, index, name, index, name, index, index + name + 1);
	}
}

static const char *
lifecycle_state(void)
{
	return trait(TRAIT_COLLECTION_STATE) == COLLECTION_ARCHIVED ? "archived" : "active";
}

/* Whether collections take new documents; answers 403 if they do not. */
bool
collection_takes(Request *request)
{
	int			state = trait(TRAIT_COLLECTION_STATE);

	if (state == COLLECTION_DISABLED)
		answer_refusal(request, 403, "ForbiddenError", "collection_disabled", NULL, "The collection is disabled");
	if (state == COLLECTION_ARCHIVED)
		answer_refusal(request, 403, "ForbiddenError", "collection_archived", NULL, "The collection is archived");
	return !request->response;
}

void
collection_lifecycle(Request *request)
{
	Buffer		body = {0};

	buffer_literal(&body, "{\"collection_id\":");
	buffer_json_text(&body, request->collection_name);
	buffer_printf(&body, ",\"lifecycle_state\":\"%s\"}", lifecycle_state());
	answer_json(request, 200, &body);
}

void
collection_get(Request *request)
{
	Buffer		body = {0};

	buffer_literal(&body, "{\"collection_id\":");
	buffer_json_text(&body, request->collection_name);
	buffer_literal(&body, ",\"collection_name\":");
	buffer_json_text(&body, request->collection_name);
	buffer_printf(&body, ",\"enabled\":%s,\"lifecycle_state\":\"%s\",\"vector_indexes\":[",
				  trait(TRAIT_COLLECTION_STATE) == COLLECTION_DISABLED ? "false" : "true", lifecycle_state());
	add_vector_indexes(&body);
	buffer_printf(&body, "],\"payload_indexes\":[],\"document_count\":%zu}",
				  request->collection ? request->collection->count : 0);
	answer_json(request, 200, &body);
}
