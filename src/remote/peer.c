/*-------------------------------------------------------------------------
 *
 * peer.c
 *		A server and a key, as libcurl needs them: what the transfers to one
 *		server with one key have in common.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "remote/peer.h"
#include "remote/url.h"

static bool
is_same_option(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* Copy a text, or NULL; return false if there is no memory. */
static bool
copy_text(char **copy, const char *text)
{
	*copy = text ? strdup(text) : NULL;
	return text == NULL || *copy != NULL;
}

static void
free_secret(char *text)
{
	if (text == NULL)
		return;
	explicit_bzero(text, strlen(text));
	free(text);
}

static void
free_headers(struct curl_slist *headers)
{
	for (struct curl_slist *item = headers; item; item = item->next)
		explicit_bzero(item->data, strlen(item->data));
	curl_slist_free_all(headers);
}

/* Free the peer, and overwrite the memory that had the key. */
static void
free_peer(HttpPeer *peer)
{
	free_headers(peer->headers);
	free_headers(peer->body_headers);
	free_secret(peer->api_key);
	secret_free(peer->secret);
	free(peer->base_url);
	free(peer->namespace);
	free(peer->ca_file);
	free(peer);
}

void
peer_release(HttpPeer *peer)
{
	if (peer && --peer->references == 0 && !peer->current)
		free_peer(peer);
}

/* Append a header, whose name ends with its colon; return false if there is no memory. */
static bool
add_header(struct curl_slist **headers, const char *name, const char *value)
{
	size_t		size = strlen(name) + strlen(value) + 1;
	char	   *line = malloc(size);
	struct curl_slist *longer;

	if (line == NULL)
		return false;
	snprintf(line, size, "%s%s", name, value);
	longer = curl_slist_append(*headers, line);
	free_secret(line);
	if (longer == NULL)
		return false;
	*headers = longer;
	return true;
}

static bool
add_common_headers(struct curl_slist **headers, const MixpeekServer *server)
{
	return add_header(headers, "Accept: ", "application/json") &&
		add_header(headers, "Authorization: Bearer ", server->api_key) &&
		(server->namespace == NULL ||
		 add_header(headers, "X-Namespace: ", server->namespace));
}

/* Set all fields; return false if there is no memory, and then the caller frees the peer. */
static bool
fill_peer(HttpPeer *peer, const MixpeekServer *server)
{
	peer->serverid = server->serverid;
	peer->userid = server->userid;
	peer->connect_timeout = server->connect_timeout;
	peer->request_timeout = server->request_timeout;
	(void) url_check_base(server->base_url, &peer->plain, &peer->loopback);
	return copy_text(&peer->base_url, server->base_url) &&
		copy_text(&peer->api_key, server->api_key) &&
		copy_text(&peer->namespace, server->namespace) &&
		copy_text(&peer->ca_file, server->ca_file) &&
		(peer->secret = secret_create(server->api_key)) != NULL &&
		add_common_headers(&peer->headers, server) &&
		add_common_headers(&peer->body_headers, server) &&
		add_header(&peer->body_headers, "Content-Type: ", "application/json") &&
		add_header(&peer->body_headers, "Expect:", "");
}

/* Check whether the peer has the server's present options. */
static bool
matches_server(const HttpPeer *peer, const MixpeekServer *server)
{
	return peer->connect_timeout == server->connect_timeout &&
		peer->request_timeout == server->request_timeout &&
		is_same_option(peer->base_url, server->base_url) &&
		is_same_option(peer->api_key, server->api_key) &&
		is_same_option(peer->namespace, server->namespace) &&
		is_same_option(peer->ca_file, server->ca_file);
}

void
peer_retire(HttpPeer *peer)
{
	dlist_delete(&peer->node);
	peer->current = false;
	if (peer->references == 0)
		free_peer(peer);
}

static HttpPeer *
create_peer(dlist_head *peers, const MixpeekServer *server)
{
	HttpPeer   *peer = calloc(1, sizeof(HttpPeer));

	if (peer == NULL)
		return NULL;
	if (!fill_peer(peer, server))
	{
		free_peer(peer);
		return NULL;
	}
	peer->current = true;
	dlist_init(&peer->lane.waiting);
	dlist_push_head(peers, &peer->node);
	return peer;
}

HttpPeer *
peer_get(dlist_head *peers, const MixpeekServer *server)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, peers)
	{
		HttpPeer   *peer = dlist_container(HttpPeer, node, iter.cur);

		if (peer->serverid != server->serverid || peer->userid != server->userid)
			continue;
		if (matches_server(peer, server))
			return peer;
		peer_retire(peer);
	}
	return create_peer(peers, server);
}
