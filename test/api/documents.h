/*
 * documents.h
 *	  The operations on one document.
 */
#ifndef DOCUMENTS_H
#define DOCUMENTS_H

#include "request.h"
#include "store.h"

extern void document_create(Request *request);
extern void document_get(Request *request);
extern void document_put(Request *request);
extern void document_patch(Request *request);
extern void document_delete(Request *request);
extern void document_count(Request *request);

/* Which rule an update is worked in by. */
typedef enum UpdateKind
{
	UPDATE_PUT, UPDATE_PATCH, UPDATE_BATCH
} UpdateKind;

extern Document *document_find(const Request *request, const char *id);
extern bool document_update(Document *document, const JsonNode *update, UpdateKind kind);

#endif
