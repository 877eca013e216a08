/*
 * upsert.h
 *	  Documents under ids of the client's own.
 */
#ifndef UPSERT_H
#define UPSERT_H

#include "request.h"

extern void document_upsert(Request *request);

#endif
