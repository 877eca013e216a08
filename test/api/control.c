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

static void
set_number(const JsonNode *body, const char *name, double *value)
{
	const JsonNode *node = json_get(body, name);

	if (node)
		*value = json_number(node);
}

static void
post_config(Request *request, const JsonNode *body)
{
	char	   *enrich = json_string(json_get(body, "enrich"));
	double		latency = options.latency;
	double		concurrency = options.concurrency;
	bool		known = !enrich || options_set_enrich(enrich);

	free(enrich);
	set_number(body, "rate", &options.rate);
	set_number(body, "burst", &options.burst);
	set_number(body, "latency", &latency);
	set_number(body, "concurrency", &concurrency);
	options.latency = latency;
	options.concurrency = concurrency;
	if (json_get(body, "filter"))
		options.filter_off = json_is(json_get(body, "filter"), "off");
	if (json_get(body, "rate") || json_get(body, "burst"))
		limits_refill();
	if (known)
		answer_ok(request);
	else
		answer_error(request, 400, NULL, "enrich must be now, never or later:SECONDS");
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
