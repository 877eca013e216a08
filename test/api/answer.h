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
extern void answer_drop(Request *request);
extern const char *error_type(unsigned status);

#endif
