/*
 * batch.h
 *	  The operations on many documents, all of 2026-02.
 */
#ifndef BATCH_H
#define BATCH_H

#include "request.h"

extern void bulk_update(Request *request);
extern void batch_update(Request *request);
extern void batch_delete(Request *request);
extern void batch_get(Request *request);

#endif
