/*
 * record.h
 *	  The last requests, for /_control/requests.
 */
#ifndef RECORD_H
#define RECORD_H

#include "request.h"

extern long record_request(const Request *request);
extern void record_status(long number, unsigned status);
extern void record_render(Buffer *into);
extern void record_clear(void);

#endif
