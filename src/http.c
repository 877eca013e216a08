/*-------------------------------------------------------------------------
 *
 * http.c
 *		HTTP requests as values: the only user of libcurl handles.
 *
 * libcurl is driven by its socket interface: it names the sockets it waits for,
 * they go into the client's epoll descriptor, and that descriptor is one entry
 * of a WaitEventSet that is made once, beside the latch and the postmaster's
 * death.  libcurl's one timer is a deadline that bounds the wait.
 *
 * Nothing may leave a callback by longjmp(): callbacks neither raise nor
 * palloc, and leave what went wrong in the transfer.
 *
 * A request that may change something reaches the wire at most once.  libcurl
 * itself sends a request again when a kept-alive connection dies before the
 * first byte of the answer (Curl_retry_request() in its transfer.c), although the
 * server may have acted by then.  Its pre-request callback runs each time just
 * before a request is written, so refusing the second call prevents that, and
 * whether there was a first call is the exact answer to "may the server have
 * acted?".  libcurl has the callback since 7.80.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <math.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "http.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#if LIBCURL_VERSION_NUM < 0x075000
#error "mixpeek_docs needs libcurl 7.80 or later"
#endif

/*
 * The most that an answer may have.  The API's store limits a document to
 * 16 MB; a page of 100 documents with several embeddings of 4,096 numbers of 20
 * characters each is some 33 MB.  64 MB is above both, and far below what a
 * palloc'd copy or a jsonb can hold.
 */
#define MAX_ANSWER_SIZE		(64 * 1024 * 1024)

#define FIRST_BODY_SIZE		4096	/* most answers are smaller */
#define MAX_KEPT_BODY_SIZE	65536	/* larger buffers are not kept for reuse */
#define MAX_IDLE_TRANSFERS	256 /* easy handles kept for reuse */
#define MAX_EVENTS			64
#define NO_DEADLINE			(-1)

/* Memory that callbacks may enlarge; malloc'd. */
typedef struct HttpBuffer
{
	char	   *data;
	size_t		len;
	size_t		size;
} HttpBuffer;

/* What libcurl wants to know about a descriptor, and what epoll was told. */
typedef struct HttpSocket
{
	uint32		wanted;
	uint32		watched;
	bool		ours;			/* made by open_socket(): its end will be told */
} HttpSocket;

/*
 * What transfers to one server with one key have in common.  Options that
 * change make a new peer; the old one lives until its last transfer lets go.
 */
typedef struct HttpPeer
{
	dlist_node	node;			/* in client->peers, while it is current */
	bool		current;
	int			references;		/* transfers that use it */
	Oid			serverid;
	Oid			userid;
	char	   *base_url;
	char	   *api_key;
	char	   *namespace;
	char	   *ca_file;
	int			connect_timeout;
	int			request_timeout;
	bool		plain;
	bool		loopback;
	struct curl_slist *headers; /* of requests without body */
	struct curl_slist *body_headers;	/* of requests with one */
} HttpPeer;

typedef enum TransferState
{
	TRANSFER_IDLE,
	TRANSFER_RUNNING,
	TRANSFER_ENDED
} TransferState;

struct HttpTransfer
{
	dlist_node	node;			/* in the client's list of its state */
	HttpClient *client;
	TransferState state;
	CURL	   *easy;
	HttpPeer   *peer;			/* whose options the easy handle has */
	void	   *owner;
	bool		may_resend;		/* sending it twice does no harm */
	bool		sent;			/* the request was, or was about to be, written */
	bool		too_large;
	bool		no_memory;
	HttpBuffer	request;		/* its body; libcurl reads it in place */
	HttpBuffer	body;
	HttpAnswer	answer;
	char		error[CURL_ERROR_SIZE];
};

struct HttpClient
{
	MemoryContext context;
	MemoryContextCallback callback;
	CURLM	   *multi;			/* NULL: to be made by the next http_start() */
	int			epoll_fd;
	WaitEventSet *wait_set;
	HttpSocket *sockets;		/* indexed by descriptor; malloc'd */
	int			nsockets;
	int64		deadline;		/* of libcurl's timer, or NO_DEADLINE */
	bool		deadline_told;	/* has libcurl set it since we asked? */
	int			nrunning;
	int			nidle;
	dlist_head	running;
	dlist_head	ended;			/* waiting for http_next_ended() */
	dlist_head	taken;			/* handed out, not yet freed */
	dlist_head	idle;
	dlist_head	peers;
	StringInfoData url;			/* scratch */
};

/*
 * Small tools
 */

/* Microseconds of a clock that never jumps. */
static int64
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Appends data and a terminating NUL; false if there is no memory. */
static bool
buffer_append(HttpBuffer *buffer, const char *data, size_t len)
{
	size_t		needed = buffer->len + len + 1;

	if (needed > buffer->size)
	{
		size_t		size = Max(Max(buffer->size * 2, needed), FIRST_BODY_SIZE);
		char	   *enlarged = realloc(buffer->data, size);

		if (enlarged == NULL)
			return false;
		buffer->data = enlarged;
		buffer->size = size;
	}
	if (len > 0)
		memcpy(buffer->data + buffer->len, data, len);
	buffer->len += len;
	buffer->data[buffer->len] = '\0';
	return true;
}

/* Empties the buffer; gives back memory that was used for something big. */
static void
buffer_reset(HttpBuffer *buffer, size_t keep)
{
	buffer->len = 0;
	if (buffer->size > keep)
	{
		free(buffer->data);
		buffer->data = NULL;
		buffer->size = 0;
	}
}

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/*
 * Sockets
 */

static HttpSocket *
socket_entry(HttpClient *client, int fd)
{
	if (fd >= client->nsockets)
	{
		int			n = Max(fd + 1, Max(64, client->nsockets * 2));
		HttpSocket *enlarged = realloc(client->sockets, n * sizeof(HttpSocket));

		if (enlarged == NULL)
			return NULL;
		memset(enlarged + client->nsockets, 0,
			   (n - client->nsockets) * sizeof(HttpSocket));
		client->sockets = enlarged;
		client->nsockets = n;
	}
	return &client->sockets[fd];
}

/* Tells epoll what is wanted; false if it could not. */
static bool
watch_socket(HttpClient *client, int fd, HttpSocket *entry)
{
	struct epoll_event event = {.events = entry->wanted, .data.fd = fd};
	int			rc;

	if (entry->wanted == entry->watched)
		return true;
	if (entry->wanted == 0)
	{
		/* it may be closed already, and then epoll has forgotten it */
		(void) epoll_ctl(client->epoll_fd, EPOLL_CTL_DEL, fd, &event);
		rc = 0;
	}
	else if (entry->watched == 0)
		rc = epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, fd, &event);
	else
		rc = epoll_ctl(client->epoll_fd, EPOLL_CTL_MOD, fd, &event);
	if (rc == 0)
		entry->watched = entry->wanted;
	return rc == 0;
}

/*
 * libcurl's CURLMOPT_SOCKETFUNCTION.  A connection that comes to rest is left in
 * epoll, as its next request usually follows at once: two system calls a request
 * less.  That is safe for sockets whose end close_socket() will tell.
 */
static int
watch_callback(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
	HttpClient *client = arg;
	HttpSocket *entry = socket_entry(client, fd);

	if (entry == NULL)
		return -1;
	entry->wanted = 0;
	if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
		entry->wanted |= EPOLLIN;
	if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
		entry->wanted |= EPOLLOUT;
	if (entry->wanted == 0 && entry->ours && entry->watched == EPOLLIN)
		return 0;
	return watch_socket(client, fd, entry) ? 0 : -1;
}

static curl_socket_t
open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	HttpClient *client = arg;
	int			fd = socket(address->family, address->socktype | SOCK_CLOEXEC,
							address->protocol);
	HttpSocket *entry;

	if (fd < 0)
		return CURL_SOCKET_BAD;
	entry = socket_entry(client, fd);
	if (entry == NULL)
	{
		close(fd);
		errno = ENOMEM;
		return CURL_SOCKET_BAD;
	}
	entry->wanted = entry->watched = 0;
	entry->ours = true;
	return fd;
}

static int
close_socket(void *arg, curl_socket_t fd)
{
	HttpClient *client = arg;

	if (fd < client->nsockets)
		memset(&client->sockets[fd], 0, sizeof(HttpSocket));
	return close(fd);
}

/* libcurl's CURLMOPT_TIMERFUNCTION. */
static int
timer_callback(CURLM *multi, long timeout_ms, void *arg)
{
	HttpClient *client = arg;

	client->deadline = timeout_ms < 0 ? NO_DEADLINE :
		now_us() + (int64) timeout_ms * 1000;
	client->deadline_told = true;
	return 0;
}

/*
 * What a transfer tells while it runs
 */

/* Just before the request is written; see the top of the file. */
static int
before_request(void *arg, char *remote_ip, char *local_ip,
			   int remote_port, int local_port)
{
	HttpTransfer *transfer = arg;

	if (transfer->sent && !transfer->may_resend)
		return CURL_PREREQFUNC_ABORT;
	transfer->sent = true;
	return CURL_PREREQFUNC_OK;
}

static size_t
body_callback(char *data, size_t size, size_t n, void *arg)
{
	HttpTransfer *transfer = arg;
	size_t		len = size * n;

	if (transfer->body.len + len > MAX_ANSWER_SIZE)
		transfer->too_large = true;
	else if (buffer_append(&transfer->body, data, len))
		return len;
	else
		transfer->no_memory = true;
	return CURL_WRITEFUNC_ERROR;
}

/* An answer's headers put nothing off for longer, in seconds. */
#define MAX_WAIT	3600.0

static double
seconds_from_now(double unix_time)
{
	return Max(0.0, unix_time - (double) time(NULL));
}

/* A number that is not negative, or HTTP_NO_HEADER. */
static double
header_number(const char *value)
{
	char	   *end;
	double		number = strtod(value, &end);

	while (*end == ' ' || *end == '\t')
		end++;
	if (end == value || *end != '\0' || !isfinite(number) || number < 0)
		return HTTP_NO_HEADER;
	return number;
}

/* Retry-After: seconds or an HTTP date; believed up to an hour. */
static double
retry_after(const char *value)
{
	double		seconds = header_number(value);
	time_t		date;

	if (seconds == HTTP_NO_HEADER)
	{
		date = curl_getdate(value, NULL);
		if (date == (time_t) -1)
			return HTTP_NO_HEADER;
		seconds = seconds_from_now((double) date);
	}
	return Min(seconds, MAX_WAIT);
}

/* X-RateLimit-Reset: unix time by the API's documentation, seconds elsewhere. */
static double
rate_limit_reset(const char *value)
{
	double		number = header_number(value);

	return Min(number > 1e9 ? seconds_from_now(number) : number, MAX_WAIT);
}

static void
forget_headers(HttpAnswer *answer)
{
	answer->retry_after = HTTP_NO_HEADER;
	answer->limit = HTTP_NO_HEADER;
	answer->remaining = HTTP_NO_HEADER;
	answer->reset = HTTP_NO_HEADER;
	answer->window = HTTP_NO_HEADER;
}

static void
take_header(HttpAnswer *answer, const char *name, const char *value)
{
	if (pg_strcasecmp(name, "retry-after") == 0)
		answer->retry_after = retry_after(value);
	else if (pg_strcasecmp(name, "x-ratelimit-limit") == 0)
		answer->limit = header_number(value);
	else if (pg_strcasecmp(name, "x-ratelimit-remaining") == 0)
		answer->remaining = header_number(value);
	else if (pg_strcasecmp(name, "x-ratelimit-reset") == 0)
		answer->reset = rate_limit_reset(value);
	else if (pg_strcasecmp(name, "x-ratelimit-window") == 0)
		answer->window = header_number(value);
}

/* One line of the answer's head, not NUL-terminated. */
static size_t
header_callback(char *data, size_t size, size_t n, void *arg)
{
	HttpTransfer *transfer = arg;
	size_t		len = size * n;
	char		line[128];
	char	   *value;

	if (len >= 5 && memcmp(data, "HTTP/", 5) == 0)
		forget_headers(&transfer->answer);	/* an interim answer came before */
	else if (len > 0 && len < sizeof(line) && strchr("rRxX", data[0]))
	{
		memcpy(line, data, len);
		while (len > 0 && strchr("\r\n \t", line[len - 1]))
			len--;
		line[len] = '\0';
		value = strchr(line, ':');
		if (value)
		{
			*value++ = '\0';
			take_header(&transfer->answer, line, value + strspn(value, " \t"));
		}
	}
	return size * n;
}

/*
 * Peers
 */

/* strdup() that knows NULL. */
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

static void
peer_free(HttpPeer *peer)
{
	free_headers(peer->headers);
	free_headers(peer->body_headers);
	free_secret(peer->api_key);
	free(peer->base_url);
	free(peer->namespace);
	free(peer->ca_file);
	free(peer);
}

static void
peer_release(HttpPeer *peer)
{
	if (peer && --peer->references == 0 && !peer->current)
		peer_free(peer);
}

/* Appends "name: value"; false if there is no memory. */
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

/* Returns false if there is no memory; the caller frees what there is. */
static bool
peer_fill(HttpPeer *peer, const MixpeekServer *server)
{
	peer->serverid = server->serverid;
	peer->userid = server->userid;
	peer->connect_timeout = server->connect_timeout;
	peer->request_timeout = server->request_timeout;
	(void) http_check_url(server->base_url, &peer->plain, &peer->loopback);
	return copy_text(&peer->base_url, server->base_url) &&
		copy_text(&peer->api_key, server->api_key) &&
		copy_text(&peer->namespace, server->namespace) &&
		copy_text(&peer->ca_file, server->ca_file) &&
		add_common_headers(&peer->headers, server) &&
		add_common_headers(&peer->body_headers, server) &&
		add_header(&peer->body_headers, "Content-Type: ", "application/json") &&
		add_header(&peer->body_headers, "Expect:", "");
}

static bool
peer_matches(const HttpPeer *peer, const MixpeekServer *server)
{
	return peer->connect_timeout == server->connect_timeout &&
		peer->request_timeout == server->request_timeout &&
		same_text(peer->base_url, server->base_url) &&
		same_text(peer->api_key, server->api_key) &&
		same_text(peer->namespace, server->namespace) &&
		same_text(peer->ca_file, server->ca_file);
}

static void
peer_retire(HttpPeer *peer)
{
	dlist_delete(&peer->node);
	peer->current = false;
	if (peer->references == 0)
		peer_free(peer);
}

static HttpPeer *
peer_create(HttpClient *client, const MixpeekServer *server)
{
	HttpPeer   *peer = calloc(1, sizeof(HttpPeer));

	if (peer == NULL)
		return NULL;
	if (!peer_fill(peer, server))
	{
		peer_free(peer);
		return NULL;
	}
	peer->current = true;
	dlist_push_head(&client->peers, &peer->node);
	return peer;
}

/* The peer for server as it is now; NULL if there is no memory. */
static HttpPeer *
peer_get(HttpClient *client, const MixpeekServer *server)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &client->peers)
	{
		HttpPeer   *peer = dlist_container(HttpPeer, node, iter.cur);

		if (peer->serverid != server->serverid || peer->userid != server->userid)
			continue;
		if (peer_matches(peer, server))
			return peer;
		peer_retire(peer);
	}
	return peer_create(client, server);
}

/*
 * Transfers: options
 */

#define SET(option, value) \
	(code = code != CURLE_OK ? code : curl_easy_setopt(easy, option, value))

static CURLcode
restrict_protocols(CURL *easy)
{
#if LIBCURL_VERSION_NUM >= 0x075500
	return curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	return curl_easy_setopt(easy, CURLOPT_PROTOCOLS,
							(long) (CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
}

static CURLcode
set_callbacks(HttpTransfer *transfer)
{
	CURL	   *easy = transfer->easy;
	CURLcode	code = CURLE_OK;

	SET(CURLOPT_PRIVATE, transfer);
	SET(CURLOPT_ERRORBUFFER, transfer->error);
	SET(CURLOPT_WRITEFUNCTION, body_callback);
	SET(CURLOPT_WRITEDATA, transfer);
	SET(CURLOPT_HEADERFUNCTION, header_callback);
	SET(CURLOPT_HEADERDATA, transfer);
	SET(CURLOPT_PREREQFUNCTION, before_request);
	SET(CURLOPT_PREREQDATA, transfer);
	SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
	SET(CURLOPT_OPENSOCKETDATA, transfer->client);
	SET(CURLOPT_CLOSESOCKETFUNCTION, close_socket);
	SET(CURLOPT_CLOSESOCKETDATA, transfer->client);
	return code;
}

/* What all requests have in common. */
static CURLcode
set_common_options(CURL *easy)
{
	CURLcode	code = restrict_protocols(easy);

	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_NOPROGRESS, 1L);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_2TLS);
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_USERAGENT, "mixpeek_docs/1.0");
	SET(CURLOPT_MAXFILESIZE, (long) MAX_ANSWER_SIZE);
#if LIBCURL_VERSION_NUM >= 0x075700
	/* do not wait for a resolver thread when a transfer is given up */
	SET(CURLOPT_QUICK_EXIT, 1L);
#endif
	return code;
}

static CURLcode
set_peer_options(CURL *easy, const HttpPeer *peer)
{
	CURLcode	code = CURLE_OK;

	SET(CURLOPT_CONNECTTIMEOUT_MS, (long) peer->connect_timeout);
	SET(CURLOPT_TIMEOUT_MS, (long) peer->request_timeout);
	if (peer->ca_file)
		SET(CURLOPT_CAINFO, peer->ca_file);
	if (peer->loopback)
		SET(CURLOPT_PROXY, ""); /* not even the environment's */
	if (!peer->plain)
		SET(CURLOPT_PIPEWAIT, 1L);	/* rather share an HTTP/2 connection */
	return code;
}

/* Makes the transfer one of peer's. */
static CURLcode
set_peer(HttpTransfer *transfer, HttpPeer *peer)
{
	CURLcode	code;

	if (transfer->peer == peer)
		return CURLE_OK;
	curl_easy_reset(transfer->easy);
	peer_release(transfer->peer);
	transfer->peer = peer;
	peer->references++;
	code = set_callbacks(transfer);
	if (code == CURLE_OK)
		code = set_common_options(transfer->easy);
	if (code == CURLE_OK)
		code = set_peer_options(transfer->easy, peer);
	return code;
}

static CURLcode
set_body(HttpTransfer *transfer, const char *body, size_t body_len)
{
	CURL	   *easy = transfer->easy;
	CURLcode	code = CURLE_OK;

	if (!buffer_append(&transfer->request, body, body_len))
		return CURLE_OUT_OF_MEMORY;
	SET(CURLOPT_POST, 1L);
	SET(CURLOPT_POSTFIELDS, transfer->request.data);
	SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) body_len);
	SET(CURLOPT_HTTPHEADER, transfer->peer->body_headers);
	return code;
}

static CURLcode
set_request(HttpTransfer *transfer, HttpMethod method, const char *url,
			const char *body, size_t body_len)
{
	static const char *const names[] = {"GET", "POST", "PUT", "DELETE"};
	CURL	   *easy = transfer->easy;
	CURLcode	code = CURLE_OK;

	SET(CURLOPT_URL, url);
	if (body || method == HTTP_POST || method == HTTP_PUT)
	{
		if (code == CURLE_OK)
			code = set_body(transfer, body ? body : "", body_len);
	}
	else
	{
		SET(CURLOPT_HTTPGET, 1L);
		SET(CURLOPT_HTTPHEADER, transfer->peer->headers);
	}
	SET(CURLOPT_CUSTOMREQUEST, names[method]);
	return code;
}

/*
 * Transfers: their life
 */

/* Takes an idle transfer or makes one; it is in no list. */
static HttpTransfer *
transfer_take(HttpClient *client)
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
		transfer->easy = curl_easy_init();
	}
	return transfer;
}

/* Frees all but what is in memory contexts; it is in no list. */
static void
transfer_release(HttpTransfer *transfer)
{
	if (transfer->easy)
		curl_easy_cleanup(transfer->easy);
	peer_release(transfer->peer);
	free(transfer->request.data);
	free(transfer->body.data);
}

static void
transfer_clear(HttpTransfer *transfer)
{
	transfer->sent = false;
	transfer->too_large = false;
	transfer->no_memory = false;
	transfer->owner = NULL;
	transfer->error[0] = '\0';
	buffer_reset(&transfer->request, MAX_KEPT_BODY_SIZE);
	buffer_reset(&transfer->body, MAX_KEPT_BODY_SIZE);
	memset(&transfer->answer, 0, sizeof(HttpAnswer));
	forget_headers(&transfer->answer);
}

/*
 * How it ended: what counts is whether the request may have been acted on.
 */
static HttpEnd
classify_end(const HttpTransfer *transfer, CURLcode code)
{
	if (code == CURLE_OK)
		return transfer->answer.status > 0 ? HTTP_ANSWERED : HTTP_BROKEN;
	if (transfer->too_large || code == CURLE_FILESIZE_EXCEEDED)
		return HTTP_TOO_LARGE;
	if (transfer->no_memory || code == CURLE_OUT_OF_MEMORY)
		return HTTP_OUT_OF_MEMORY;
	if (transfer->sent)
		return code == CURLE_OPERATION_TIMEDOUT ? HTTP_TIMED_OUT : HTTP_BROKEN;
	switch (code)
	{
		case CURLE_SSL_CONNECT_ERROR:
		case CURLE_SSL_CERTPROBLEM:
		case CURLE_SSL_CIPHER:
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_SSL_CACERT_BADFILE:
		case CURLE_SSL_CRL_BADFILE:
		case CURLE_SSL_ISSUER_ERROR:
		case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
		case CURLE_SSL_INVALIDCERTSTATUS:
		case CURLE_SSL_CLIENTCERT:
			return HTTP_TLS_FAILED;
		default:
			return HTTP_NOT_SENT;
	}
}

static void
describe_not_sent(HttpTransfer *transfer, CURLcode code)
{
	HttpAnswer *answer = &transfer->answer;
	long		os_errno = 0;

	if (code == CURLE_OPERATION_TIMEDOUT)
		snprintf(answer->error, sizeof(answer->error), "no connection within %g s",
				 Min(transfer->peer->connect_timeout, transfer->peer->request_timeout) / 1000.0);
	else if (code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY)
		strlcpy(answer->error, "host name could not be resolved", sizeof(answer->error));
	else if (code == CURLE_COULDNT_CONNECT &&
			 curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &os_errno) == CURLE_OK &&
			 os_errno != 0)
		strlcpy(answer->error, strerror((int) os_errno), sizeof(answer->error));
	else
		strlcpy(answer->error,
				transfer->error[0] ? transfer->error : curl_easy_strerror(code),
				sizeof(answer->error));
}

static void
describe_end(HttpTransfer *transfer, CURLcode code)
{
	HttpAnswer *answer = &transfer->answer;
	const char *text = transfer->error[0] ? transfer->error : curl_easy_strerror(code);

	switch (answer->end)
	{
		case HTTP_ANSWERED:
			return;
		case HTTP_NOT_SENT:
			describe_not_sent(transfer, code);
			return;
		case HTTP_TIMED_OUT:
			snprintf(answer->error, sizeof(answer->error), "no answer within %g s",
					 transfer->peer->request_timeout / 1000.0);
			return;
		case HTTP_BROKEN:
			if (code == CURLE_ABORTED_BY_CALLBACK || code == CURLE_OK)
				text = "connection closed without an answer";
			break;
		case HTTP_TOO_LARGE:
			snprintf(answer->error, sizeof(answer->error),
					 "answer has more than %d MB", MAX_ANSWER_SIZE / (1024 * 1024));
			return;
		case HTTP_OUT_OF_MEMORY:
			text = "out of memory";
			break;
		case HTTP_TLS_FAILED:
			break;
	}
	strlcpy(answer->error, text, sizeof(answer->error));
}

static void
fill_answer(HttpTransfer *transfer, CURLcode code)
{
	HttpAnswer *answer = &transfer->answer;
	long		status = 0;
	curl_off_t	microseconds = 0;

	if (transfer->easy)
	{
		curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
		curl_easy_getinfo(transfer->easy, CURLINFO_TOTAL_TIME_T, &microseconds);
	}
	if (transfer->body.data == NULL && !buffer_append(&transfer->body, "", 0))
		transfer->no_memory = true;
	if (transfer->no_memory && code == CURLE_OK)
		code = CURLE_OUT_OF_MEMORY;
	answer->status = (int) status;
	answer->seconds = microseconds / 1e6;
	answer->body = transfer->body.data;
	answer->body_len = transfer->body.len;
	answer->end = classify_end(transfer, code);
	describe_end(transfer, code);
}

/* The transfer is over; it is in no list and no multi handle. */
static void
transfer_end(HttpTransfer *transfer, CURLcode code)
{
	fill_answer(transfer, code);
	transfer->state = TRANSFER_ENDED;
	dlist_push_tail(&transfer->client->ended, &transfer->node);
}

static void
transfer_stop(HttpTransfer *transfer)
{
	HttpClient *client = transfer->client;

	if (client->multi)
		curl_multi_remove_handle(client->multi, transfer->easy);
	dlist_delete(&transfer->node);
	client->nrunning--;
}

/*
 * The client
 */

static void
release_list(dlist_head *list)
{
	while (!dlist_is_empty(list))
		transfer_release(dlist_container(HttpTransfer, node, dlist_pop_head_node(list)));
}

/* Frees all that is not in memory contexts; safe on a half-built client. */
static void
client_teardown(void *arg)
{
	HttpClient *client = arg;

	while (!dlist_is_empty(&client->running))
	{
		HttpTransfer *transfer = dlist_head_element(HttpTransfer, node, &client->running);

		transfer_stop(transfer);
		transfer_release(transfer);
	}
	release_list(&client->ended);
	release_list(&client->taken);
	release_list(&client->idle);
	while (!dlist_is_empty(&client->peers))
		peer_retire(dlist_head_element(HttpPeer, node, &client->peers));
	if (client->multi)
		curl_multi_cleanup(client->multi);
	if (client->wait_set)
		FreeWaitEventSet(client->wait_set);
	if (client->epoll_fd >= 0)
	{
		close(client->epoll_fd);
		ReleaseExternalFD();
	}
	free(client->sockets);
}

/* Gives up all transfers and libcurl's state after an error inside libcurl. */
static void
client_fail(HttpClient *client)
{
	while (!dlist_is_empty(&client->running))
	{
		HttpTransfer *transfer = dlist_head_element(HttpTransfer, node, &client->running);

		transfer_stop(transfer);
		transfer_end(transfer, CURLE_OUT_OF_MEMORY);
	}
	curl_multi_cleanup(client->multi);
	client->nsockets = 0;		/* all are closed, what is known of them is void */
	client->multi = NULL;
	client->deadline = NO_DEADLINE;
}

static CURLM *
create_multi(HttpClient *client)
{
	CURLM	   *multi = curl_multi_init();

	if (multi == NULL)
		return NULL;
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch_callback);
	curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, client);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, timer_callback);
	curl_multi_setopt(multi, CURLMOPT_TIMERDATA, client);
	curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long) CURLPIPE_MULTIPLEX);

	/*
	 * libcurl counts connections in use, too; the callers' max_connections
	 * already bound their number.
	 */
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, 4096L);
	return multi;
}

static void
create_wait_set(HttpClient *client)
{
	if (!AcquireExternalFD())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not open another file descriptor for HTTP requests")));
	client->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (client->epoll_fd < 0)
	{
		ReleaseExternalFD();
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not create an epoll descriptor: %m")));
	}
	client->wait_set = COMPAT_CREATE_WAIT_EVENT_SET(3);
	AddWaitEventToSet(client->wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	if (IsUnderPostmaster)
		AddWaitEventToSet(client->wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET,
						  NULL, NULL);
	AddWaitEventToSet(client->wait_set, WL_SOCKET_READABLE, client->epoll_fd, NULL, NULL);
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
http_client_create(void)
{
	HttpClient *client;

	init_libcurl();
	client = palloc0(sizeof(HttpClient));
	client->context = CurrentMemoryContext;
	client->epoll_fd = -1;
	client->deadline = NO_DEADLINE;
	dlist_init(&client->running);
	dlist_init(&client->ended);
	dlist_init(&client->taken);
	dlist_init(&client->idle);
	dlist_init(&client->peers);
	initStringInfo(&client->url);
	client->callback.func = client_teardown;
	client->callback.arg = client;
	MemoryContextRegisterResetCallback(client->context, &client->callback);
	create_wait_set(client);
	return client;
}

/*
 * Driving
 */

/*
 * No signal may arrive in a thread that is not PostgreSQL's: libcurl's resolver
 * threads inherit the mask that is in force when they are started.
 */
static void
block_signals(sigset_t *saved)
{
	sigset_t	all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, saved);
}

static void
restore_signals(const sigset_t *saved)
{
	pthread_sigmask(SIG_SETMASK, saved, NULL);
}

/* Lets libcurl act on one socket, or on its timer. */
static void
act(HttpClient *client, curl_socket_t fd, int events)
{
	int			running;

	if (client->multi &&
		curl_multi_socket_action(client->multi, fd, events, &running) != CURLM_OK)
		client_fail(client);
}

static void
handle_event(HttpClient *client, const struct epoll_event *event)
{
	int			fd = event->data.fd;
	HttpSocket *entry = socket_entry(client, fd);
	int			events = 0;

	if (entry == NULL)
		return;
	if (entry->wanted == 0)
	{
		/* the other side closed a connection at rest; libcurl will see it */
		(void) watch_socket(client, fd, entry);
		return;
	}
	if (event->events & EPOLLIN)
		events |= CURL_CSELECT_IN;
	if (event->events & EPOLLOUT)
		events |= CURL_CSELECT_OUT;
	act(client, fd, events);	/* for an error alone libcurl looks for itself */
}

static void
handle_sockets(HttpClient *client)
{
	struct epoll_event events[MAX_EVENTS];
	int			n;

	do
	{
		n = epoll_wait(client->epoll_fd, events, MAX_EVENTS, 0);
		for (int i = 0; i < n; i++)
			handle_event(client, &events[i]);
	} while (n == MAX_EVENTS);
}

/*
 * Runs libcurl's timer if it is due.  libcurl keeps silent about a timer that
 * it thinks has not changed, as when we come a moment early: then it is asked.
 */
static void
handle_timer(HttpClient *client)
{
	long		timeout_ms = -1;

	if (client->deadline == NO_DEADLINE || client->deadline > now_us())
		return;
	client->deadline_told = false;
	act(client, CURL_SOCKET_TIMEOUT, 0);
	if (client->deadline_told || client->multi == NULL)
		return;
	curl_multi_timeout(client->multi, &timeout_ms);
	(void) timer_callback(client->multi, timeout_ms == 0 ? 1 : timeout_ms, client);
}

/* Takes over what libcurl has finished. */
static void
collect_ended(HttpClient *client)
{
	CURLMsg    *message;
	int			left;

	while (client->multi &&
		   (message = curl_multi_info_read(client->multi, &left)) != NULL)
	{
		HttpTransfer *transfer = NULL;
		CURLcode	code = message->data.result;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &transfer);
		transfer_stop(transfer);	/* frees message, too */
		transfer_end(transfer, code);
	}
}

static void
drive(HttpClient *client, bool sockets)
{
	sigset_t	saved;

	block_signals(&saved);
	if (sockets)
		handle_sockets(client);
	handle_timer(client);
	collect_ended(client);
	restore_signals(&saved);
}

/* How long may the wait be?  Rounded up, as coming early is of no use. */
static long
wait_time(HttpClient *client, int64 until)
{
	int64		end = until;

	if (client->deadline != NO_DEADLINE && (end < 0 || client->deadline < end))
		end = client->deadline;
	if (end < 0)
		return -1;
	return (long) Min(Max(0, (end - now_us() + 999) / 1000), INT_MAX);
}

void
http_push(HttpClient *client)
{
	drive(client, false);
}

void
http_wait(HttpClient *client, long timeout_ms, uint32 wait_event)
{
	int64		until = timeout_ms < 0 ? -1 : now_us() + (int64) timeout_ms * 1000;
	bool		over = false;

	if (!dlist_is_empty(&client->ended))
		return;
	drive(client, false);		/* what was started since */
	while (dlist_is_empty(&client->ended) && !over)
	{
		WaitEvent	event;
		int			n;

		n = WaitEventSetWait(client->wait_set, wait_time(client, until),
							 &event, 1, wait_event);

		/* the latch hides the sockets; they must not starve */
		drive(client, n > 0);
		over = (n > 0 && (event.events & WL_LATCH_SET)) ||
			(until >= 0 && now_us() >= until);
	}
}

/*
 * Transfers: what the caller does with them
 */

static const char *
build_url(HttpClient *client, const MixpeekServer *server, const char *path)
{
	resetStringInfo(&client->url);
	appendStringInfoString(&client->url, server->base_url);
	appendStringInfoString(&client->url, path);
	return client->url.data;
}

static CURLcode
prepare(HttpTransfer *transfer, const MixpeekServer *server, HttpMethod method,
		const char *url, const char *body, size_t body_len)
{
	HttpClient *client = transfer->client;
	HttpPeer   *peer = peer_get(client, server);
	CURLcode	code;

	if (client->multi == NULL)
		client->multi = create_multi(client);
	if (peer == NULL || client->multi == NULL || transfer->easy == NULL)
		return CURLE_OUT_OF_MEMORY;
	code = set_peer(transfer, peer);
	if (code == CURLE_OK)
		code = set_request(transfer, method, url, body, body_len);
	return code;
}

HttpTransfer *
http_start(HttpClient *client, const MixpeekServer *server, HttpMethod method,
		   const char *path, const char *body, size_t body_len, void *owner)
{
	const char *url = build_url(client, server, path);
	HttpTransfer *transfer = transfer_take(client);
	CURLcode	code;

	transfer_clear(transfer);
	transfer->owner = owner;
	transfer->may_resend = (method == HTTP_GET);
	code = prepare(transfer, server, method, url, body, body_len);
	if (code == CURLE_OK &&
		curl_multi_add_handle(client->multi, transfer->easy) != CURLM_OK)
		code = CURLE_OUT_OF_MEMORY;
	if (code != CURLE_OK)
	{
		transfer_end(transfer, code);
		return transfer;
	}
	transfer->state = TRANSFER_RUNNING;
	dlist_push_tail(&client->running, &transfer->node);
	client->nrunning++;
	return transfer;
}

HttpTransfer *
http_next_ended(HttpClient *client)
{
	HttpTransfer *transfer;

	if (dlist_is_empty(&client->ended))
		return NULL;
	transfer = dlist_container(HttpTransfer, node, dlist_pop_head_node(&client->ended));
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
		transfer_stop(transfer);
	else
		dlist_delete(&transfer->node);
	transfer->state = TRANSFER_IDLE;
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

/*
 * URLs
 */

void
http_append_escaped(StringInfo dst, const char *s)
{
	static const char hex[] = "0123456789ABCDEF";

	for (const unsigned char *p = (const unsigned char *) s; *p; p++)
	{
		if ((*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') ||
			(*p >= 'a' && *p <= 'z') || strchr("-._~", *p))
			appendStringInfoChar(dst, *p);
		else
		{
			appendStringInfoChar(dst, '%');
			appendStringInfoChar(dst, hex[*p >> 4]);
			appendStringInfoChar(dst, hex[*p & 15]);
		}
	}
}

/* 127.0.0.0/8, ::1 or "localhost", which libcurl itself resolves to these. */
static bool
is_loopback(const char *host)
{
	struct in_addr v4;
	struct in6_addr v6;
	char		bare[64];
	size_t		len = strlen(host);

	if (pg_strcasecmp(host, "localhost") == 0)
		return true;
	if (inet_pton(AF_INET, host, &v4) == 1)
		return (ntohl(v4.s_addr) >> 24) == 127;
	if (host[0] != '[' || len < 3 || len - 2 >= sizeof(bare))
		return false;
	strlcpy(bare, host + 1, len - 1);
	return inet_pton(AF_INET6, bare, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static bool
has_part(CURLU *parsed, CURLUPart which)
{
	char	   *text = NULL;
	bool		found = curl_url_get(parsed, which, &text, 0) == CURLUE_OK;

	curl_free(text);
	return found;
}

static const char *
check_parts(CURLU *parsed)
{
	if (has_part(parsed, CURLUPART_USER) || has_part(parsed, CURLUPART_PASSWORD) ||
		has_part(parsed, CURLUPART_OPTIONS))
		return "must not contain a user name or password";
	if (has_part(parsed, CURLUPART_QUERY))
		return "must not contain a query";
	if (has_part(parsed, CURLUPART_FRAGMENT))
		return "must not contain a fragment";
	return NULL;
}

static const char *
check_scheme_and_host(CURLU *parsed, bool *plain, bool *loopback)
{
	char	   *scheme = NULL;
	char	   *host = NULL;
	const char *problem = NULL;

	if (curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
		curl_url_get(parsed, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
		host[0] == '\0' ||
		(strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
		problem = "must be an absolute http or https URL";
	else
	{
		*plain = strcmp(scheme, "http") == 0;
		*loopback = is_loopback(host);
	}
	curl_free(scheme);
	curl_free(host);
	return problem;
}

const char *
http_check_url(const char *url, bool *plain, bool *loopback)
{
	const char *problem;
	CURLU	   *parsed;

	*plain = *loopback = false;
	for (const char *p = url; *p; p++)
		if (*p <= ' ' || *p > '~' || *p == '\\')
			return "must consist of visible ASCII characters without backslashes";
	if (strpbrk(url, "?#"))
		return "must not contain a query or a fragment";
	parsed = curl_url();
	if (parsed == NULL)
		return "could not be checked: out of memory";
	if (curl_url_set(parsed, CURLUPART_URL, url, 0) != CURLUE_OK)
		problem = "must be an absolute http or https URL";
	else
	{
		problem = check_parts(parsed);
		if (problem == NULL)
			problem = check_scheme_and_host(parsed, plain, loopback);
	}
	curl_url_cleanup(parsed);
	return problem;
}
