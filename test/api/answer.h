/*
 * answer.h
 *	  Making answers, errors in the API's own form among them.
 */
#ifndef ANSWER_H
#define ANSWER_H

#include "request.h"

extern void answer_json(Request *request, unsigned status, Buffer *body);
extern void answer_header(Request *request, const char *name, const char *value);
extern void answer_error(Request *request, unsigned status, const char *details, const char *format,...)
			__attribute__((format(printf, 4, 5)));
extern void answer_refusal(Request *request, unsigned status, const char *type, const char *code,
						   const char *details, const char *message);
extern void answer_missing(Request *request, const char *resource, const char *id);
extern void answer_too_many(Request *request, const char *message, long seconds);
extern void answer_add_retryable(Buffer *details);
extern void answer_drop(Request *request);
extern const char *error_type(unsigned status);

#endif
