/*-------------------------------------------------------------------------
 *
 * http.h
 *		HTTP requests as values.
 *
 * A client owns an engine (engine.h), its connections and its transfers.  It belongs to the
 * memory context that it was created in: resetting that context ends all transfers and frees
 * everything.  Nothing here needs a transaction, reads a catalog or takes a lock.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_HTTP_H
#define MIXPEEK_HTTP_H

#include "lib/stringinfo.h"
#include "remote/server.h"

typedef struct HttpClient HttpClient;
typedef struct HttpTransfer HttpTransfer;

typedef enum HttpMethod
{
	HTTP_NONE,
	HTTP_GET,
	HTTP_POST,
	HTTP_PUT,
	HTTP_DELETE
} HttpMethod;

/*
 * How a transfer ended, which says whether the server may have acted on the request.
 * status.h says what each end means.
 */
typedef enum HttpEnd
{
	HTTP_ANSWERED,				/* status, headers and the whole body arrived */
	HTTP_NOT_BEGUN,				/* not sent: it was queued behind a transfer
								 * that failed */
	HTTP_NOT_SENT,				/* no connection: host name, refused, connect
								 * timeout */
	HTTP_TLS_FAILED,			/* no connection: certificate or handshake */
	HTTP_TIMED_OUT,				/* sent; no or half an answer within
								 * request_timeout */
	HTTP_BROKEN,				/* sent; connection lost before the answer was
								 * complete */
	HTTP_TOO_LARGE,				/* sent; the answer exceeds ROOM_LARGEST */
	HTTP_NO_ROOM,				/* sent; no memory for the answer beside
								 * others (room.h) */
	HTTP_NO_SOCKET,				/* no connection: this process has no
								 * descriptor left */
	HTTP_OUT_OF_MEMORY			/* perhaps sent */
} HttpEnd;

#define HTTP_NO_HEADER	(-1)

/* How a transfer ended.  It belongs to the transfer. */
/* Longest request id that is kept, in bytes. */
#define HTTP_MAX_REQUEST_ID	100

typedef struct HttpAnswer
{
	HttpEnd		end;
	int			status;			/* HTTP status; 0 if none was received */
	char	   *body;			/* NUL-terminated, malloc'd; any bytes */
	size_t		body_len;
	char		error[256];		/* what went wrong, in words; "" if
								 * HTTP_ANSWERED */
	double		retry_after;	/* Retry-After in seconds from now, or
								 * HTTP_NO_HEADER */
	double		limit;			/* X-RateLimit-Limit, or HTTP_NO_HEADER */
	double		remaining;		/* X-RateLimit-Remaining, or HTTP_NO_HEADER */
	double		reset;			/* X-RateLimit-Reset in seconds from now, or
								 * HTTP_NO_HEADER */
	double		window;			/* X-RateLimit-Window in seconds, or
								 * HTTP_NO_HEADER */
	char		request_id[HTTP_MAX_REQUEST_ID + 1];	/* of X-Request-Id,
														 * X-Trace-Id or
														 * Request-Id; "": none */
	double		seconds;		/* duration of the transfer, including its
								 * connection's set-up */
} HttpAnswer;

/*
 * Create a client in the current memory context.  With a thread, transfers go on while the
 * caller does other things, and none can be freed before it has ended.  Raises
 * ERRCODE_SYSTEM_ERROR or ERRCODE_INSUFFICIENT_RESOURCES if libcurl cannot be initialized or
 * there is no file descriptor.
 */
extern HttpClient *http_client_create(bool thread);

/*
 * Start a request.  path follows the server's base_url: it begins with a slash, and its parts
 * are escaped.  body is JSON in UTF-8, or NULL.  The client copies path, body and what it
 * needs of server.  At most at_once requests to the server run together (0: no bound); later
 * ones wait, and end with HTTP_NOT_BEGUN if a running one ends with STATUS_HOLDS_OTHERS.
 * http_transfer_owner() returns "owner".  Nothing is sent before http_push() or http_wait().
 * Raises only out of memory; every other failure is the transfer's answer.
 *
 * A request other than GET is written at most once: if a kept-alive connection breaks, the
 * answer is HTTP_BROKEN, and libcurl does not send it again.
 */
extern HttpTransfer *http_start(HttpClient *client, const MixpeekServer *server,
								HttpMethod method, const char *path,
								const char *body, size_t body_len, int at_once, void *owner);

/* Send the started requests and take those that have ended, without waiting. */
extern void http_push(HttpClient *client);

/*
 * Run all transfers and sleep until one has ended, the process latch is set, or timeout_ms has
 * passed (-1: no timeout).  Return at once if http_next_ended() has one already.  Afterwards
 * the caller resets the latch and checks for interrupts.  Exits on postmaster death.
 */
extern void http_wait(HttpClient *client, long timeout_ms, uint32 wait_event);

/* Return the next transfer that has ended, or NULL.  The caller frees it after use. */
extern HttpTransfer *http_next_ended(HttpClient *client);

/* Return the answer of a transfer that has ended, and the owner given to http_start(). */
extern const HttpAnswer *http_transfer_answer(const HttpTransfer *transfer);
extern void *http_transfer_owner(const HttpTransfer *transfer);

/* Free the transfer; end it before that if it is under way, which needs a client without thread. */
extern void http_transfer_free(HttpTransfer *transfer);

#endif							/* MIXPEEK_HTTP_H */
