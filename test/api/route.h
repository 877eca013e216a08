/*
 * route.h
 *	  From a request's method and path to the operation.
 */
#ifndef ROUTE_H
#define ROUTE_H

#include "limits.h"
#include "request.h"

#define DEFAULT_NAMESPACE "default"

extern bool route_find(Request *request);
extern Category route_category(Request *request);
extern void route_request(Request *request);

#endif
