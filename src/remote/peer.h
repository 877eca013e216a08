/*-------------------------------------------------------------------------
 *
 * peer.h
 *		A server and a key, as libcurl needs them: what the transfers to one
 *		server with one key have in common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_PEER_H
#define MIXPEEK_PEER_H

#include "remote/engine.h"
#include "remote/redact.h"
#include "remote/server.h"

/*
 * If an option of the server changes, there is a new peer; the old one is freed with its last
 * transfer.  All strings are malloc'd.
 */
typedef struct HttpPeer
{
	dlist_node	node;			/* in the client's list, if current */
	bool		current;		/* does it have the server's present options? */
	int			references;		/* transfers that use it */
	Oid			serverid;
	Oid			userid;
	char	   *base_url;
	char	   *api_key;
	Secret	   *secret;			/* the key, prepared for finding it in answers */
	char	   *namespace;
	char	   *ca_file;
	int			connect_timeout;	/* milliseconds */
	int			request_timeout;	/* milliseconds */
	bool		plain;			/* see url_check_base() */
	bool		loopback;
	EngineLane	lane;			/* queue of its transfers */
	struct curl_slist *headers; /* of requests without body */
	struct curl_slist *body_headers;	/* of requests with a body */
} HttpPeer;

/* Return the list's peer for the server as it is now, or NULL if there is no memory. */
extern HttpPeer *peer_get(dlist_head *peers, const MixpeekServer *server);

/* Take a peer out of the list; it is freed when no transfer uses it any more. */
extern void peer_retire(HttpPeer *peer);

/* Note that a transfer does not use the peer any more; peer may be NULL. */
extern void peer_release(HttpPeer *peer);

#endif							/* MIXPEEK_PEER_H */
