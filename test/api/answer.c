/*
 * answer.c
 *	  Making answers.
 */
#include "answer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const struct
{
	unsigned	status;
	const char *type;
}			error_types[] = {
	{400, "BadRequestError"},
	{401, "UnauthorizedError"},
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

/* An ErrorResponse; details is a JSON object or NULL. */
void
answer_error(Request *request, unsigned status, const char *details, const char *format,...)
{
	Buffer		body = {0};
	char		message[1024];
	va_list		arguments;

	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	buffer_printf(&body, "{\"success\":false,\"status\":%u,\"error\":{\"message\":", status);
	buffer_json_text(&body, message);
	buffer_printf(&body, ",\"type\":\"%s\",\"details\":%s}}", error_type(status), details ? details : "{}");
	answer_json(request, status, &body);
}
