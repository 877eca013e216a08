/*
 * answer.c
 *	  Making answers.
 */
#include "answer.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "options.h"
#include "traits.h"

static const struct
{
	unsigned	status;
	const char *type;
}			error_types[] = {
	{400, "BadRequestError"},
	{401, "UnauthorizedError"},
	{402, "PaymentRequiredError"},
	{403, "ForbiddenError"},
	{404, "NotFoundError"},
	{405, "MethodNotAllowedError"},
	{409, "AlreadyExistsError"},
	{413, "PayloadTooLargeError"},
	{422, "ValidationError"},
	{429, "TooManyRequestsError"},
	{500, "InternalServerError"},
	{503, "InferenceServiceUnavailableError"},
	{0, NULL}
};

const char *
error_type(unsigned status)
{
	for (int i = 0; error_types[i].type; i++)
		if (error_types[i].status == status)
			return error_types[i].type;
	return status < 500 ? "BadRequestError" : "InternalServerError";
}

/* Forgets an answer made earlier. */
void
answer_drop(Request *request)
{
	if (request->response)
		MHD_destroy_response(request->response);
	request->response = NULL;
	request->status = 0;
}

/* Takes the buffer's memory over, and replaces an answer made earlier. */
void
answer_json(Request *request, unsigned status, Buffer *body)
{
	answer_drop(request);
	request->status = status;
	request->answer_data = body->data;
	request->answer_length = body->length;
	request->response = MHD_create_response_from_buffer(body->length, body->data, MHD_RESPMEM_MUST_FREE);
	*body = (Buffer) {0};
	answer_header(request, "Content-Type", "application/json");
}

void
answer_header(Request *request, const char *name, const char *value)
{
	MHD_add_response_header(request->response, name, value);
}

/*
 * An ErrorResponse of that type, with the code where the contract has codes;
 * details is a JSON object or NULL.
 */
void
answer_refusal(Request *request, unsigned status, const char *type, const char *code, const char *details,
			   const char *message)
{
	Buffer		body = {0};

	buffer_printf(&body, "{\"success\":false,\"status\":%u,\"error\":{\"message\":", status);
	buffer_json_text(&body, message);
	buffer_printf(&body, ",\"type\":\"%s\"", type);
	if (code && options.contract >= CONTRACT_2026_10)
		buffer_printf(&body, ",\"code\":\"%s\"", code);
	buffer_printf(&body, ",\"details\":%s}}", details ? details : "{}");
	answer_json(request, status, &body);
}

/* An ErrorResponse of the status's type; details is a JSON object or NULL. */
void
answer_error(Request *request, unsigned status, const char *details, const char *format,...)
{
	char		message[1024];
	va_list		arguments;

	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	answer_refusal(request, status, error_type(status), NULL, details, message);
}

/* A 404 of that kind of thing: a document, a collection or a namespace. */
void
answer_missing(Request *request, const char *resource, const char *id)
{
	Buffer		details = {0};
	char		code[64];
	char		message[64];

	snprintf(code, sizeof(code), "%s_not_found", resource);
	snprintf(message, sizeof(message), "%c%s not found", resource[0] - 'a' + 'A', resource + 1);
	buffer_printf(&details, "{\"resource\":\"%s\",\"id\":", resource);
	buffer_json_text(&details, id);
	buffer_char(&details, '}');
	answer_refusal(request, 404, error_type(404), code, buffer_terminate(&details), message);
	buffer_free(&details);
}

/* Add to details, an object without its end, whether it makes sense to try again. */
void
answer_add_retryable(Buffer *details)
{
	if (trait(TRAIT_RETRYABLE) != RETRYABLE_UNSAID)
		buffer_printf(details, "%s\"retryable\":%s", details->data[details->length - 1] == '{' ? "" : ",",
					  trait(TRAIT_RETRYABLE) == RETRYABLE_YES ? "true" : "false");
}

static void
add_retry_header(Request *request, long seconds)
{
	time_t		when = (time_t) ceil(clock_wall()) + seconds;
	char		value[64];
	struct tm	parts;

	if (trait(TRAIT_RETRY_AFTER) == RETRY_SECONDS)
		snprintf(value, sizeof(value), "%ld", seconds);
	else if (trait(TRAIT_RETRY_AFTER) == RETRY_DATE)
		strftime(value, sizeof(value), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&when, &parts));
	else
		return;
	answer_header(request, "Retry-After", value);
}

/* A 429 that says, as the traits have it, after how many seconds to come again. */
void
answer_too_many(Request *request, const char *message, long seconds)
{
	Buffer		details = {0};

	buffer_literal(&details, "{\"api_name\":\"documents\"");
	if (trait(TRAIT_RETRY_AFTER) == RETRY_SECONDS)
		buffer_printf(&details, ",\"retry_after\":%ld", seconds);
	if (trait(TRAIT_RETRY_AFTER) == RETRY_DETAILS)
		buffer_printf(&details, ",\"retry_after_seconds\":%ld", seconds);
	answer_add_retryable(&details);
	buffer_char(&details, '}');
	answer_refusal(request, 429, error_type(429), "rate_limit_exceeded", buffer_terminate(&details), message);
	buffer_free(&details);
	add_retry_header(request, seconds);
}
