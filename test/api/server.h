/*
 * server.h
 *	  The HTTP side: connections, the way of a request, the event loop.
 */
#ifndef SERVER_H
#define SERVER_H

#include "request.h"

extern void server_run(void);
extern void request_wait(Request *request, double seconds);
extern void request_hang(Request *request);
extern int	request_socket(const Request *request);

#endif
