/*
 * fault.c
 *	  Faults on demand.  The first fault of the list which a request matches is
 *	  done to it; "before" ones instead of the work, "after" ones to its answer.
 */
#define _GNU_SOURCE
#include "fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "answer.h"
#include "options.h"
#include "server.h"
#include "stats.h"
#include "validate.h"

const char *const fault_kind_names[] = {
	"status", "status_after", "delay", "reset_before", "reset_after", "reset_late", "hang",
	"cut", "malformed", "huge", "drip", "wrong_type", "redirect", "refuse_filter", NULL
};

typedef struct Fault
{
	struct Fault *next;
	int			references;		/* the list's, and requests' it is done to */
	FaultKind	kind;
	char	   *method;			/* what it matches; NULL: anything */
	char	   *path;
	char	   *body;
	long		after;			/* matches still to be let through */
	long		count;			/* times still to be done; -1: for ever */
	double		probability;
	unsigned	status;
	char	   *answer;			/* NULL: an ErrorResponse */
	char	   *headers;		/* a JSON object, or NULL */
	long		milliseconds;
	bool		when_after;
	ssize_t		bytes;
	char	   *start;			/* of a body that is made up; then unit again and again, then end */
	char	   *unit;
	char	   *end;
	bool		chunked;		/* it does not say how long it is */
	ssize_t		stall;			/* it waits there, and then comes on; -1: nowhere */
} Fault;

static Fault *faults;
static uint64_t random_state;

void
faults_start(void)
{
	random_state = options.seed * 2654435761u + 88172645463325252ULL;
}

/* From 0 up to 1, the same sequence for the same seed. */
static double
random_fraction(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state >> 11) * 0x1p-53;
}

static void
unreference(Fault *fault)
{
	if (--fault->references)
		return;
	free(fault->method);
	free(fault->path);
	free(fault->body);
	free(fault->answer);
	free(fault->headers);
	free(fault->start);
	free(fault->unit);
	free(fault->end);
	free(fault);
}

void
faults_clear(void)
{
	while (faults)
	{
		Fault	   *next = faults->next;

		unreference(faults);
		faults = next;
	}
}

static double
number_or(const JsonNode *node, const char *name, double fallback)
{
	const JsonNode *value = json_get(node, name);

	return value && value->kind == JSON_NUMBER ? json_number(value) : fallback;
}

/* A member's text, or what it is without one. */
static char *
text_or(const JsonNode *node, const char *name, const char *fallback)
{
	char	   *text = json_string(json_get(node, name));

	return text ? text : copy_bytes(fallback, strlen(fallback));
}

/* The body to answer: a string's characters, or any other value's JSON. */
static char *
answer_of(const JsonNode *value)
{
	if (!value || value->kind == JSON_NULL)
		return NULL;
	return value->kind == JSON_STRING ? json_string(value) : copy_bytes(value->text, value->length);
}

static Fault *
make(const JsonNode *node)
{
	const JsonNode *headers = json_get(node, "headers");
	Fault	   *fault = allocate(sizeof(Fault));

	fault->references = 1;
	while (fault_kind_names[fault->kind] && !json_is(json_get(node, "kind"), fault_kind_names[fault->kind]))
		fault->kind++;
	fault->method = json_string(json_get(node, "method"));
	fault->path = json_string(json_get(node, "path"));
	if (fault->kind == FAULT_STATUS || fault->kind == FAULT_STATUS_AFTER)
		fault->answer = answer_of(json_get(node, "answer"));
	fault->body = json_string(json_get(node, "body"));
	fault->after = number_or(node, "after", 0);
	fault->count = number_or(node, "count", -1);
	fault->probability = number_or(node, "probability", 1);
	fault->status = number_or(node, "status", 503);
	fault->milliseconds = number_or(node, "ms", 1000);
	fault->when_after = json_is(json_get(node, "when"), "after");
	fault->bytes = number_or(node, "bytes", 64 * 1024 * 1024);
	fault->start = text_or(node, "start", "{\"padding\":\"");
	fault->unit = text_or(node, "unit", "x");
	fault->end = text_or(node, "end", "\"}");
	fault->chunked = json_get(node, "chunked") && json_get(node, "chunked")->kind == JSON_TRUE;
	fault->stall = number_or(node, "stall", -1);
	if (headers && headers->kind == JSON_OBJECT)
		fault->headers = copy_bytes(headers->text, headers->length);
	return fault;
}

/* Replaces the list; returns what is wrong with the new one, or NULL. */
const char *
faults_replace(const JsonNode *list)
{
	Fault	  **end = &faults;

	faults_clear();
	if (!list || list->kind != JSON_ARRAY)
		return "\"faults\" must be a list";
	JSON_ITEMS(list, item)
	{
		*end = make(item);
		if (!fault_kind_names[(*end)->kind])
		{
			faults_clear();
			return "unknown kind of fault";
		}
		end = &(*end)->next;
	}
	return NULL;
}

static bool
is_filtered_list(Request *request)
{
	const JsonNode *filters = json_get(request_json(request), "filters");

	return strstr(request->uri, "/documents/list") && filters && filters->kind != JSON_NULL;
}

static bool
matches(const Fault *fault, Request *request)
{
	if (fault->count == 0)
		return false;
	if (fault->method && strcmp(fault->method, request->method) != 0)
		return false;
	if (fault->path && !strstr(request->uri, fault->path))
		return false;
	if (fault->body && (!request->body.length ||
						!memmem(request->body.data, request->body.length, fault->body, strlen(fault->body))))
		return false;
	return fault->kind != FAULT_REFUSE_FILTER || is_filtered_list(request);
}

/* Chooses what is to be done to the request, if anything. */
void
fault_pick(Request *request)
{
	for (Fault *fault = faults; fault; fault = fault->next)
	{
		if (!matches(fault, request))
			continue;
		if (fault->after > 0)
		{
			fault->after--;
			continue;
		}
		if (fault->probability < 1 && random_fraction() >= fault->probability)
			continue;
		if (fault->count > 0)
			fault->count--;
		fault->references++;
		request->fault = fault;
		stats.faults++;
		stats.fault_kinds[fault->kind]++;
		return;
	}
}

void
fault_release(Request *request)
{
	if (request->fault)
		unreference(request->fault);
	request->fault = NULL;
}

static void
add_headers(Request *request, const char *headers)
{
	JsonDocument document = {0};
	const JsonNode *root = headers ? json_parse(&document, headers, strlen(headers)) : NULL;

	if (root)
		JSON_MEMBERS(root, key)
	{
		char	   *name = json_string(key);
		char	   *value = answer_of(&key[1]);

		answer_header(request, name, value ? value : "");
		free(name);
		free(value);
	}
	json_free(&document);
}

static void
answer_status(Request *request, const Fault *fault)
{
	Buffer		body = {0};

	if (!fault->answer)
		answer_error(request, fault->status, NULL, "Fault on demand");
	else
	{
		buffer_text(&body, fault->answer);
		answer_json(request, fault->status, &body);
	}
	add_headers(request, fault->headers);
}

static void
answer_text(Request *request, const char *text)
{
	Buffer		body = {0};

	buffer_text(&body, text);
	answer_json(request, 200, &body);
}

static void
answer_redirect(Request *request, const Fault *fault)
{
	Buffer		location = {0};

	answer_error(request, fault->status == 503 ? 307 : fault->status, NULL, "Moved");
	buffer_printf(&location, "/_elsewhere%s", request->uri);
	answer_header(request, "Location", buffer_terminate(&location));
	buffer_free(&location);
}

/* Connects the socket to nowhere: the peer gets RST, at once. */
static FaultStep
reset(Request *request)
{
	struct sockaddr nowhere = {.sa_family = AF_UNSPEC};

	if (connect(request_socket(request), &nowhere, sizeof(nowhere)) != 0)
		perror("mixpeek_server: could not reset a connection");
	return STEP_CLOSE;
}

/* Sets the phase that follows; without a fault, that is the work. */
FaultStep
fault_before_work(Request *request)
{
	const Fault *fault = request->fault;

	request->phase = PHASE_WORK;
	if (!fault)
		return STEP_GO;
	switch (fault->kind)
	{
		case FAULT_DELAY:
			if (fault->when_after)
				return STEP_GO;
			request_wait(request, fault->milliseconds / 1000.0);
			return STEP_WAIT;
		case FAULT_RESET_BEFORE:
			return reset(request);
		case FAULT_RESET_LATE:
			reset(request);
			request_wait(request, fault->milliseconds / 1000.0);
			return STEP_WAIT;
		case FAULT_HANG:
			request_hang(request);
			return STEP_WAIT;
		case FAULT_STATUS:
			answer_status(request, fault);
			break;
		case FAULT_REDIRECT:
			answer_redirect(request, fault);
			break;
		case FAULT_REFUSE_FILTER:
			answer_error(request, 400, NULL, "Filters are not supported for this collection");
			break;
		default:
			return STEP_GO;
	}
	request->phase = PHASE_SEND;
	return STEP_GO;
}

/* How long a body is to be: as many units as fit. */
static ssize_t
huge_size(const Fault *fault)
{
	size_t		rest = strlen(fault->start) + strlen(fault->end);
	size_t		unit = strlen(fault->unit);
	size_t		bytes = fault->bytes > 0 ? fault->bytes : 0;

	return rest + (bytes > rest && unit > 0 ? (bytes - rest) / unit * unit : 0);
}

/* {"padding":"xxxx…"} or what the fault says, as long as the request's stream is to be. */
static ssize_t
read_huge(void *cls, uint64_t position, char *buffer, size_t max)
{
	Request    *request = cls;
	const Fault *fault = request->fault;
	uint64_t	size = request->stream_size;
	uint64_t	begin = strlen(fault->start);
	uint64_t	end = size - strlen(fault->end);
	size_t		unit = strlen(fault->unit);
	size_t		count = 0;

	if (fault->stall >= 0 && position >= (uint64_t) fault->stall && request->stream_waited == 0)
	{
		request->stream_waited = 1;
		request_wait(request, fault->milliseconds / 1000.0);
		return 0;
	}
	for (; count < max && position < size; count++, position++)
		buffer[count] = position < begin ? fault->start[position] :
			position >= end ? fault->end[position - end] : fault->unit[(position - begin) % unit];
	return count ? (ssize_t) count : MHD_CONTENT_READER_END_OF_STREAM;
}

/* The first part of the answer, and then the connection breaks off. */
static ssize_t
read_cut(void *cls, uint64_t position, char *buffer, size_t max)
{
	Request    *request = cls;
	size_t		left = request->stream_cut - position;

	if (position >= (uint64_t) request->stream_cut)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (left > max)
		left = max;
	memcpy(buffer, request->stream.data + position, left);
	return left;
}

/* One byte, after a wait for each. */
static ssize_t
read_drip(void *cls, uint64_t position, char *buffer, size_t max)
{
	Request    *request = cls;

	(void) max;
	if (position >= request->stream.length)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (request->stream_waited <= (ssize_t) position)
	{
		request->stream_waited = position + 1;
		request_wait(request, request->fault->milliseconds / 1000.0);
		return 0;
	}
	*buffer = request->stream.data[position];
	return 1;
}

/* Replaces the answer by one whose body a reader delivers. */
static void
answer_stream(Request *request, ssize_t size, size_t block, MHD_ContentReaderCallback reader)
{
	unsigned	status = request->status;

	request->stream.length = 0;
	buffer_add(&request->stream, request->answer_data, request->answer_length);
	answer_drop(request);
	request->status = status;
	request->stream_size = size;
	request->response = MHD_create_response_from_callback(size, block, reader, request, NULL);
	answer_header(request, "Content-Type", "application/json");
}

/* The work is done and answered; spoils that as the fault says. */
FaultStep
fault_after_work(Request *request)
{
	const Fault *fault = request->fault;
	ssize_t		length = request->answer_length;

	switch (fault ? fault->kind : FAULT_STATUS)
	{
		case FAULT_STATUS_AFTER: answer_status(request, fault); break;
		case FAULT_RESET_AFTER: return reset(request);
		case FAULT_MALFORMED: answer_text(request, "{\"document_id\": \"doc_malformed\", \"enrichments\": {"); break;
		case FAULT_WRONG_TYPE: answer_text(request, "[1,2]"); break;
		case FAULT_DRIP: answer_stream(request, length, 1, read_drip); break;
		case FAULT_CUT:
			request->stream_cut = length / 2;
			answer_stream(request, length, 4096, read_cut);
			break;
		case FAULT_HUGE:
			request->status = 200;
			answer_stream(request, fault->chunked ? (ssize_t) MHD_SIZE_UNKNOWN : huge_size(fault), 65536, read_huge);
			request->stream_size = huge_size(fault);
			break;
		case FAULT_DELAY:
			if (fault->when_after)
			{
				request_wait(request, (fault->milliseconds + options.latency) / 1000.0);
				return STEP_WAIT;
			}
			break;
		default:
			break;
	}
	return STEP_GO;
}
