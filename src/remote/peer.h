/*-------------------------------------------------------------------------
 *
 * peer.h
 *		What transfers to one server with one key have in common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_PEER_H
#define MIXPEEK_PEER_H

#include "remote/engine.h"
#include "remote/redact.h"
#include "remote/server.h"

/*
 * What transfers to one server with one key have in common.  Options that
 * change make a new peer; the old one lives until its last transfer lets go.
 */
typedef struct HttpPeer
{
	dlist_node	node;			/* in the client's list, while it is current */
	bool		current;
	int			references;		/* transfers that use it */
	Oid			serverid;
	Oid			userid;
	char	   *base_url;
	char	   *api_key;
	Secret	   *secret;			/* the same, to be found in answers */
	char	   *namespace;
	char	   *ca_file;
	int			connect_timeout;
	int			request_timeout;
	bool		plain;
	bool		loopback;
	EngineLane	lane;
	struct curl_slist *headers; /* of requests without body */
	struct curl_slist *body_headers;	/* of requests with one */
} HttpPeer;

/* The list's peer for server as it is now; NULL if there is no memory. */
extern HttpPeer *peer_get(dlist_head *peers, const MixpeekServer *server);

/* Takes one out of the list; it is freed when no transfer uses it any more. */
extern void peer_retire(HttpPeer *peer);
extern void peer_release(HttpPeer *peer);

#endif							/* MIXPEEK_PEER_H */
