/*-------------------------------------------------------------------------
 *
 * transfer.h
 *		One request and its answer, as libcurl carries it out.
 *
 * Only http.c uses it, which keeps transfers in lists and hands them to the engine.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_TRANSFER_H
#define MIXPEEK_TRANSFER_H

#include "remote/buffer.h"
#include "remote/engine.h"
#include "remote/http.h"
#include "remote/peer.h"

typedef enum TransferState
{
	TRANSFER_IDLE,
	TRANSFER_RUNNING,
	TRANSFER_ENDED
} TransferState;

struct HttpTransfer
{
	EngineTask	task;			/* must be first: a pointer to it is one to
								 * the transfer */
	dlist_node	node;			/* in one of the client's lists */
	HttpClient *client;
	Engine	   *engine;			/* the client's */
	TransferState state;
	HttpPeer   *peer;			/* whose options are set in the easy handle */
	void	   *owner;			/* see http_start() */
	HttpMethod	method;			/* whose options are set in the easy handle */
	bool		has_body;		/* the same for a request's body */
	bool		may_resend;		/* may it be sent twice? */
	bool		sent;			/* was it written, or about to be? */
	bool		too_large;		/* did the answer exceed MAX_ANSWER_SIZE? */
	bool		no_memory;		/* was there no memory for the answer? */
	HttpBuffer	request;		/* the request's body, which libcurl reads in
								 * place */
	HttpBuffer	body;			/* the answer's body */
	HttpAnswer	answer;
	char		error[CURL_ERROR_SIZE];
};

/*
 * Reset a transfer for the next request to peer and set all of the request's options; those that
 * the easy handle has already are not set again.  url is absolute.  body may be NULL, and is
 * copied.  Return what libcurl says; after a failure, end the transfer with that code.
 */
extern CURLcode transfer_prepare(HttpTransfer *transfer, HttpPeer *peer, HttpMethod method,
								 const char *url, const char *body, size_t body_len);

/* End a transfer that is in no list and that the engine does not have: fill in its answer. */
extern void transfer_end(HttpTransfer *transfer, CURLcode code);

/* Reset a transfer; the options set in its easy handle stay. */
extern void transfer_clear(HttpTransfer *transfer);

/* Free the memory of the answer's body, if it is large. */
extern void transfer_free_body(HttpTransfer *transfer);

/* Free what a transfer, which is in no list, has outside of memory contexts. */
extern void transfer_release(HttpTransfer *transfer);

#endif							/* MIXPEEK_TRANSFER_H */
