/*
 * repeat.h
 *	  Requests that are sent again under one idempotency key.
 */
#ifndef REPEAT_H
#define REPEAT_H

#include "request.h"

extern bool repeat_answer(Request *request, const char *key);
extern void repeat_remember(const Request *request, const char *key);

#endif
