/*
 * control.c
 *	  The endpoints under /_control: counters, faults, limits, what is stored.
 */
#include "control.h"

#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "fault.h"
#include "limits.h"
#include "options.h"
#include "record.h"
#include "render.h"
#include "stats.h"
#include "store.h"
#include "traits.h"

#define PREFIX "/_control/"

bool
is_control(const Request *request)
{
	return strncmp(request->uri, PREFIX, sizeof(PREFIX) - 1) == 0;
}

static void
answer_ok(Request *request)
{
	Buffer		body = {0};

	buffer_literal(&body, "{\"ok\":true}");
	answer_json(request, 200, &body);
}

static void
get_stats(Request *request, const JsonNode *body)
{
	Buffer		answer = {0};

	(void) body;
	stats_render(&answer);
	answer_json(request, 200, &answer);
}

static bool
is_true(const JsonNode *body, const char *name)
{
	const JsonNode *value = json_get(body, name);

	return value && value->kind == JSON_TRUE;
}

static void
post_reset(Request *request, const JsonNode *body)
{
	stats_reset();
	record_clear();
	if (is_true(body, "documents"))
		store_clear();
	if (is_true(body, "faults"))
		faults_clear();
	answer_ok(request);
}

static void
post_faults(Request *request, const JsonNode *body)
{
	const char *mistake = faults_replace(json_get(body, "faults"));

	if (mistake)
		answer_error(request, 400, NULL, "%s", mistake);
	else
		answer_ok(request);
}

/* Set what is not a trait; false if there is nothing of that name, or it cannot have the value. */
static bool
set_option(const char *name, const char *text)
{
	char	   *end;
	double		number = strtod(text, &end);

	if (strcmp(name, "contract") == 0)
		return options_set_contract(text);
	if (strcmp(name, "enrich") == 0)
		return options_set_enrich(text);
	if (end == text || *end || number < 0)
		return false;
	if (strcmp(name, "rate") == 0)
		options.rate = number;
	else if (strcmp(name, "burst") == 0)
		options.burst = number;
	else if (strcmp(name, "latency") == 0)
		options.latency = number;
	else if (strcmp(name, "concurrency") == 0)
		options.concurrency = number;
	else
		return false;
	return true;
}

/* Set the member's option or trait; false if that cannot be. */
static bool
set_member(const JsonNode *key)
{
	const JsonNode *value = &key[1];
	char	   *name = json_string(key);
	char	   *text = value->kind == JSON_STRING ? json_string(value) : copy_bytes(value->text, value->length);
	Trait		trait;
	bool		done = trait_find(name, &trait) ? trait_set(trait, text) : set_option(name, text);

	free(name);
	free(text);
	return done;
}

static void
post_config(Request *request, const JsonNode *body)
{
	if (body && body->kind == JSON_OBJECT)
		JSON_MEMBERS(body, key)
		{
			if (!set_member(key))
				answer_error(request, 400, NULL, "There is no option of that name and value: %.*s",
							 (int) (key[1].text + key[1].length - key->text), key->text);
		}
	if (json_get(body, "rate") || json_get(body, "burst"))
		limits_refill();
	if (!request->response)
		answer_ok(request);
}

/* The traits as they are. */
static void
get_config(Request *request, const JsonNode *body)
{
	Buffer		answer = {0};

	(void) body;
	buffer_char(&answer, '{');
	traits_render(&answer);
	buffer_char(&answer, '}');
	answer_json(request, 200, &answer);
}

static void
get_documents(Request *request, const JsonNode *body)
{
	Buffer		collection = {0};
	Buffer		namespace = {0};
	Buffer		answer = {0};
	Collection *c;

	(void) body;
	if (!request_parameter(request, "namespace", &namespace))
		buffer_literal(&namespace, "default");
	request_parameter(request, "collection", &collection);
	c = store_collection(buffer_terminate(&namespace), buffer_terminate(&collection), false);
	if (!c && !strstr(request->uri, "namespace="))
		c = store_collection_anywhere(collection.data);
	buffer_char(&answer, '[');
	for (Document *d = c ? c->first : NULL; d; d = d->next)
	{
		render_stored(&answer, d);
		if (d->next)
			buffer_char(&answer, ',');
	}
	buffer_char(&answer, ']');
	answer_json(request, 200, &answer);
	buffer_free(&collection);
	buffer_free(&namespace);
}

static void
get_requests(Request *request, const JsonNode *body)
{
	Buffer		answer = {0};

	(void) body;
	record_render(&answer);
	answer_json(request, 200, &answer);
}

static const struct
{
	const char *method;
	const char *name;
	void		(*run) (Request *request, const JsonNode *body);
}			endpoints[] = {
	{"GET", "stats", get_stats},
	{"POST", "reset", post_reset},
	{"POST", "faults", post_faults},
	{"POST", "config", post_config},
	{"GET", "config", get_config},
	{"GET", "documents", get_documents},
	{"GET", "requests", get_requests},
	{NULL, NULL, NULL}
};

/* Does what the request asks for; it has an answer afterwards. */
void
control_request(Request *request)
{
	const char *name = request->uri + sizeof(PREFIX) - 1;
	size_t		length = strcspn(name, "?");
	const JsonNode *body = NULL;

	if (request->body.length && !(body = request_json(request)))
	{
		answer_error(request, 400, NULL, "The body is not JSON");
		return;
	}
	for (int i = 0; endpoints[i].name; i++)
		if (strlen(endpoints[i].name) == length && strncmp(endpoints[i].name, name, length) == 0 &&
			strcmp(endpoints[i].method, request->method) == 0)
		{
			endpoints[i].run(request, body);
			return;
		}
	answer_error(request, 404, NULL, "No such control endpoint");
}
