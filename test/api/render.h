/*
 * render.h
 *	  A stored document as the contract's DocumentResponse.
 */
#ifndef RENDER_H
#define RENDER_H

#include "store.h"

typedef struct RenderOptions
{
	bool		url;			/* with presigned URLs */
	bool		vectors;
	const JsonNode *vector_names;	/* true, or a list of those that are wanted; or NULL */
	bool		filtering;		/* as filters see it, not as answers show it */
} RenderOptions;

extern void render_document(Buffer *into, const Document *document, const JsonNode *root,
							RenderOptions with);
extern void render_stored(Buffer *into, const Document *document);

#endif
