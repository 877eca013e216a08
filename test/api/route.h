/*
 * route.h
 *	  From a request's method and path to the operation.
 */
#ifndef ROUTE_H
#define ROUTE_H

#include "request.h"

extern void route_request(Request *request);

#endif
