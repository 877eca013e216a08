/*-------------------------------------------------------------------------
 *
 * http.h
 *		HTTP requests as values: the only user of libcurl handles.
 *
 * A client owns one curl multi handle, its connections and one WaitEventSet
 * {latch, postmaster death, curl}.  It belongs to the memory context it was
 * created in: resetting that context ends every transfer and frees all.
 * Nothing here needs a transaction, reads a catalog or takes a lock.
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

/* How a transfer ended.  Whether the server may have acted on it is the point. */
typedef enum HttpEnd
{
	HTTP_ANSWERED,				/* status, headers and whole body are here */
	HTTP_NOT_BEGUN,				/* it waited for others, and one of them went
								 * wrong */
	HTTP_NOT_SENT,				/* no connection: name, refused, connect
								 * timeout */
	HTTP_TLS_FAILED,			/* no connection: certificate or handshake */
	HTTP_TIMED_OUT,				/* sent, no (whole) answer in request_timeout */
	HTTP_BROKEN,				/* sent, connection reset or answer cut short */
	HTTP_TOO_LARGE,				/* sent, answer over the cap */
	HTTP_NO_ROOM,				/* sent, other answers took the memory that
								 * there is for them (room.h) */
	HTTP_NO_SOCKET,				/* no connection: this process has no
								 * descriptor left */
	HTTP_OUT_OF_MEMORY
} HttpEnd;

#define HTTP_NO_HEADER	(-1)

typedef struct HttpAnswer
{
	HttpEnd		end;
	int			status;			/* HTTP status, 0 unless one was received */
	char	   *body;			/* NUL-terminated; malloc'd, owned by the
								 * transfer */
	size_t		body_len;
	char		error[256];		/* what went wrong, for people; "" if
								 * HTTP_ANSWERED */
	double		retry_after;	/* seconds from now (both forms),
								 * HTTP_NO_HEADER if none */
	double		limit;			/* X-RateLimit-Limit, or HTTP_NO_HEADER */
	double		remaining;		/* X-RateLimit-Remaining, or HTTP_NO_HEADER */
	double		reset;			/* seconds from now (X-RateLimit-Reset as unix
								 * time or as seconds), or HTTP_NO_HEADER */
	double		window;			/* X-RateLimit-Window in seconds, or
								 * HTTP_NO_HEADER */
	double		seconds;		/* how long the transfer took, with the
								 * connection's making */
} HttpAnswer;

/*
 * In the current memory context.  With a thread, transfers go on whatever the
 * caller does, and none of them can be freed before it has ended.  Raises only what
 * there is too little of: memory, file descriptors.
 */
extern HttpClient *http_client_create(bool thread);

/*
 * Starts a request: path is what follows the server's base_url and begins
 * with a slash, its parts already escaped.  body is JSON in UTF-8, or NULL.
 * The client copies path, body and what it needs of server.  At most at_once requests
 * to the server run together (0: any number): of more, those that were started later
 * wait, and end with HTTP_NOT_BEGUN should one of the others say that the server is in
 * trouble.  "owner" is handed back by http_transfer_owner().  Raises only out of memory: what else
 * goes wrong is the transfer's answer.  Nothing is sent before http_push() or http_wait().
 *
 * All but a GET is at most once on the wire: if a kept-alive connection dies,
 * the answer is HTTP_BROKEN and not libcurl's own second try.
 */
extern HttpTransfer *http_start(HttpClient *client, const MixpeekServer *server,
								HttpMethod method, const char *path,
								const char *body, size_t body_len, int at_once, void *owner);

/*
 * Sends what was started, and sees what has ended, for a caller that has other things
 * to do before it waits.
 */
extern void http_push(HttpClient *client);

/*
 * Drives all transfers and sleeps until one has ended, the process latch is
 * set, or timeout_ms has passed (-1: no timeout).  Returns at once if a
 * transfer that has ended is waiting for http_next_ended().  The caller resets the
 * latch and checks for interrupts afterwards; on postmaster death exits.
 */
extern void http_wait(HttpClient *client, long timeout_ms, uint32 wait_event);

/* The next transfer that has ended, or NULL; the caller frees it after use. */
extern HttpTransfer *http_next_ended(HttpClient *client);
extern const HttpAnswer *http_transfer_answer(const HttpTransfer *transfer);
extern void *http_transfer_owner(const HttpTransfer *transfer);

/* Ends the transfer if it is under way, and frees it. */
extern void http_transfer_free(HttpTransfer *transfer);

#endif							/* MIXPEEK_HTTP_H */
