/*
 * control.h
 *	  The endpoints under /_control, which are no part of the API.
 */
#ifndef CONTROL_H
#define CONTROL_H

#include "request.h"

extern bool is_control(const Request *request);
extern void control_request(Request *request);

#endif
