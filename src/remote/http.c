/*-------------------------------------------------------------------------
 *
 * http.c
 *		HTTP requests as values.
 *
 * Only this file, transfer.c and the engine use libcurl's handles.  The API key is removed from an
 * answer (redact.c) before the caller gets it.  How a request is written at most once: see
 * transfer.c.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "remote/http.h"
#include "remote/transfer.h"
#include "utils/memutils.h"

#define MAX_IDLE_TRANSFERS	256 /* easy handles kept for reuse */

struct HttpClient
{
	MemoryContext context;
	MemoryContextCallback callback;
	Engine	   *engine;
	int			nidle;
	dlist_head	running;		/* transfers that the engine has */
	dlist_head	unstarted;		/* transfers that could not be started, and so
								 * have ended */
	dlist_head	taken;			/* ended and handed out, not yet freed */
	dlist_head	idle;			/* for reuse */
	dlist_head	peers;
	StringInfoData url;			/* of the request being started */
};

/*
 * The client
 */

static void
release_list(dlist_head *list)
{
	while (!dlist_is_empty(list))
		transfer_release(dlist_container(HttpTransfer, node, dlist_pop_head_node(list)));
}

/* Free what is not in memory contexts, as a reset callback; safe on a half-built client. */
static void
destroy_client(void *arg)
{
	HttpClient *client = arg;

	if (client->engine)
		engine_destroy(client->engine);
	release_list(&client->running);
	release_list(&client->unstarted);
	release_list(&client->taken);
	release_list(&client->idle);
	while (!dlist_is_empty(&client->peers))
		peer_retire(dlist_head_element(HttpPeer, node, &client->peers));
}

static void
init_libcurl(void)
{
	static bool done = false;

	if (done)
		return;
	if (curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not initialize libcurl")));
	done = true;
}

HttpClient *
http_client_create(bool thread)
{
	HttpClient *client;

	init_libcurl();
	client = palloc0(sizeof(HttpClient));
	client->context = CurrentMemoryContext;
	dlist_init(&client->running);
	dlist_init(&client->unstarted);
	dlist_init(&client->taken);
	dlist_init(&client->idle);
	dlist_init(&client->peers);
	initStringInfo(&client->url);
	client->callback.func = destroy_client;
	client->callback.arg = client;
	MemoryContextRegisterResetCallback(client->context, &client->callback);
	engine_create(&client->engine, thread);
	return client;
}

void
http_push(HttpClient *client)
{
	engine_push(client->engine);
}

void
http_wait(HttpClient *client, long timeout_ms, uint32 wait_event)
{
	engine_wait(client->engine, dlist_is_empty(&client->unstarted) ? timeout_ms : 0, wait_event);
}

/*
 * Transfers
 */

/* Return an idle or a new transfer, which is in no list. */
static HttpTransfer *
take_transfer(HttpClient *client)
{
	HttpTransfer *transfer;

	if (client->nidle > 0)
	{
		transfer = dlist_head_element(HttpTransfer, node, &client->idle);
		dlist_delete(&transfer->node);
		client->nidle--;
	}
	else
	{
		transfer = MemoryContextAllocZero(client->context, sizeof(HttpTransfer));
		transfer->client = client;
		transfer->engine = client->engine;
		transfer->task.easy = curl_easy_init();
	}
	return transfer;
}

static const char *
build_url(HttpClient *client, const MixpeekServer *server, const char *path)
{
	resetStringInfo(&client->url);
	appendStringInfoString(&client->url, server->base_url);
	appendStringInfoString(&client->url, path);
	return client->url.data;
}

HttpTransfer *
http_start(HttpClient *client, const MixpeekServer *server, HttpMethod method,
		   const char *path, const char *body, size_t body_len, int at_once, void *owner)
{
	const char *url = build_url(client, server, path);
	HttpTransfer *transfer = take_transfer(client);
	CURLcode	code;

	code = transfer_prepare(transfer, peer_get(&client->peers, server), method, url, body, body_len);
	transfer->owner = owner;
	if (code != CURLE_OK)
	{
		transfer_end(transfer, code);
		dlist_push_tail(&client->unstarted, &transfer->node);
		return transfer;
	}
	transfer->state = TRANSFER_RUNNING;
	transfer->task.lane = &transfer->peer->lane;
	transfer->task.at_once = at_once;
	dlist_push_tail(&client->running, &transfer->node);
	engine_start(client->engine, &transfer->task);
	return transfer;
}

HttpTransfer *
http_next_ended(HttpClient *client)
{
	HttpTransfer *transfer;

	if (!dlist_is_empty(&client->unstarted))
		transfer = dlist_container(HttpTransfer, node, dlist_pop_head_node(&client->unstarted));
	else
	{
		transfer = (HttpTransfer *) engine_next_ended(client->engine);
		if (transfer == NULL)
			return NULL;
		dlist_delete(&transfer->node);
		transfer_end(transfer, transfer->task.code);
	}
	dlist_push_tail(&client->taken, &transfer->node);
	return transfer;
}

const HttpAnswer *
http_transfer_answer(const HttpTransfer *transfer)
{
	return &transfer->answer;
}

void *
http_transfer_owner(const HttpTransfer *transfer)
{
	return transfer->owner;
}

void
http_transfer_free(HttpTransfer *transfer)
{
	HttpClient *client = transfer->client;

	if (transfer->state == TRANSFER_RUNNING)
		engine_cancel(client->engine, &transfer->task);
	dlist_delete(&transfer->node);
	transfer->state = TRANSFER_IDLE;
	transfer_free_body(transfer);
	engine_return_room(&transfer->task);
	if (transfer->peer && client->nidle < MAX_IDLE_TRANSFERS)
	{
		transfer_clear(transfer);
		dlist_push_head(&client->idle, &transfer->node);
		client->nidle++;
		return;
	}
	transfer_release(transfer);
	pfree(transfer);
}
