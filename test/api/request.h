/*
 * request.h
 *	  One HTTP request on its way through the server.
 */
#ifndef REQUEST_H
#define REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <microhttpd.h>

#include "buffer.h"
#include "json.h"
#include "timer.h"

#define MAX_BODY (16 * 1024 * 1024)

struct Fault;
struct Route;
struct Collection;
struct ApiKey;

/* What comes next for the request, when the HTTP library calls again. */
typedef enum Phase
{
	PHASE_HEADERS,				/* nothing is known but the URI */
	PHASE_BODY,					/* the body arrives */
	PHASE_ADMITTED,				/* it may be worked on */
	PHASE_WORK,					/* faults before the work are over */
	PHASE_ANSWER,				/* the answer is made; faults may spoil it */
	PHASE_SEND,					/* the answer goes out */
	PHASE_HANG,					/* nothing will; its peer has gone */
	PHASE_SENT
} Phase;

typedef struct Request
{
	struct MHD_Connection *connection;
	Phase		phase;
	const char *method;			/* the connection's memory, as are the headers */
	const char *authorization;
	const char *namespace;
	const char *content_type;
	char	   *uri;			/* as it came, query included */
	const char *query;			/* after the ?, within uri; or NULL */
	Buffer		body;
	bool		too_large;		/* the body was, and is not kept */

	const struct Route *route;	/* NULL until it is found */
	char	   *collection_name;	/* decoded path parts, or NULL */
	char	   *document_id;
	char	   *path_namespace;
	struct Collection *collection;	/* NULL: holds no documents */

	bool		counted;		/* in the statistics: not a control request */
	long		record;			/* its number among the recorded, or 0 */
	struct ApiKey *key;			/* NULL: unknown */
	bool		admitted;		/* counts among the key's requests at once */
	struct Fault *fault;		/* to be done to this request, or NULL */
	char	  **subjects;		/* what it changes, in order: see overlap.c */
	size_t		subject_count;
	struct Request *subject_next;

	unsigned	status;
	struct MHD_Response *response;	/* NULL until there is an answer */
	const char *answer_data;	/* its body, the response's memory */
	size_t		answer_length;

	Timer		timer;
	ssize_t		stream_size;	/* of bodies that faults make up */
	ssize_t		stream_cut;		/* ... and where they break off */
	ssize_t		stream_waited;	/* bytes of a drip that have been waited for */
	Buffer		stream;
} Request;

extern const JsonNode *request_json(Request *request);
extern const JsonDocument *request_json_mistake(void);
extern bool request_parameter(const Request *request, const char *name, Buffer *value);
extern bool url_decode(const char *text, size_t length, Buffer *into);

#endif
