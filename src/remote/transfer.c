/*-------------------------------------------------------------------------
 *
 * transfer.c
 *		One request and its answer, as libcurl carries it out.
 *
 * No callback may be left by longjmp(), and callbacks may run in the engine's thread: they
 * neither raise errors nor palloc, and store what went wrong in the transfer.
 *
 * A request that may change something is written at most once.  libcurl itself sends a
 * request again if a kept-alive connection breaks before the first byte of the answer
 * (Curl_retry_request() in its transfer.c), although the server may have acted by then.  Its
 * pre-request callback runs each time just before a request is written.  Refusing the second
 * call prevents the repetition, and whether there was a first call says exactly whether the
 * server may have acted.  libcurl has the callback since 7.80.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <curl/curl.h>

#include "remote/headers.h"
#include "remote/transfer.h"

#if LIBCURL_VERSION_NUM < 0x075000
#error "mixpeek_docs needs libcurl 7.80 or later"
#endif

/*
 * The largest answer, in bytes.  The API's store limits a document to 16 MB, so this is twice
 * a document.  If a page of documents exceeds it, a smaller page can be requested.
 */
#define MAX_ANSWER_SIZE		ROOM_LARGEST

#define MAX_KEPT_BODY_SIZE	16384	/* larger buffers are not kept for reuse */

/*
 * Callbacks of a transfer that runs
 */

/* Note that the request is about to be written, or refuse it; see the top of the file. */
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

/* Append a piece of the answer's body. */
static size_t
body_callback(char *data, size_t size, size_t n, void *arg)
{
	HttpTransfer *transfer = arg;
	size_t		len = size * n;

	if (transfer->body.len + len > MAX_ANSWER_SIZE)
		transfer->too_large = true;
	else if (!engine_take_room(&transfer->task, buffer_size_for(&transfer->body, len)))
		return CURL_WRITEFUNC_PAUSE;
	else if (buffer_append(&transfer->body, data, len))
		return len;
	else
		transfer->no_memory = true;
	return CURL_WRITEFUNC_ERROR;
}

/* Take one line of the answer's head, which is not NUL-terminated. */
static size_t
header_callback(char *data, size_t size, size_t n, void *arg)
{
	HttpTransfer *transfer = arg;
	size_t		len = size * n;
	char		line[128];
	char	   *value;

	if (len >= 5 && memcmp(data, "HTTP/", 5) == 0)
		headers_clear(&transfer->answer);	/* those of an interim answer */
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
			headers_take(&transfer->answer, line, value + strspn(value, " \t"));
		}
	}
	return size * n;
}

/*
 * Options
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
	CURL	   *easy = transfer->task.easy;
	CURLcode	code = engine_set_options(transfer->engine, &transfer->task);

	SET(CURLOPT_ERRORBUFFER, transfer->error);
	SET(CURLOPT_WRITEFUNCTION, body_callback);
	SET(CURLOPT_WRITEDATA, transfer);
	SET(CURLOPT_HEADERFUNCTION, header_callback);
	SET(CURLOPT_HEADERDATA, transfer);
	SET(CURLOPT_PREREQFUNCTION, before_request);
	SET(CURLOPT_PREREQDATA, transfer);
	return code;
}

/* Set the options that all requests have in common. */
static CURLcode
set_common_options(CURL *easy)
{
	CURLcode	code = restrict_protocols(easy);

	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_NOPROGRESS, 1L);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);

	/*
	 * HTTP/2 puts all requests on one connection, which servers end with
	 * GOAWAY after a thousand requests or so.  Requests under way then would
	 * count as lost, because no request is written twice, and each of their
	 * keys would wait for request_timeout.
	 */
	SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_USERAGENT, "mixpeek_docs/1.0");
	SET(CURLOPT_MAXFILESIZE, (long) MAX_ANSWER_SIZE);
#if LIBCURL_VERSION_NUM >= 0x075700
	/* do not wait for a resolver thread when a transfer is cancelled */
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
		SET(CURLOPT_PROXY, ""); /* not even that of the environment */
	return code;
}

/* Set the options of this peer, unless the transfer has them. */
static CURLcode
set_peer(HttpTransfer *transfer, HttpPeer *peer)
{
	CURLcode	code;

	if (transfer->peer == peer)
		return CURLE_OK;
	curl_easy_reset(transfer->task.easy);
	transfer->method = HTTP_NONE;
	peer_release(transfer->peer);
	transfer->peer = peer;
	peer->references++;
	code = set_callbacks(transfer);
	if (code == CURLE_OK)
		code = set_common_options(transfer->task.easy);
	if (code == CURLE_OK)
		code = set_peer_options(transfer->task.easy, peer);
	return code;
}

/* Set the options of the method, unless the transfer has them. */
static CURLcode
set_method(HttpTransfer *transfer, HttpMethod method, bool has_body)
{
	static const char *const names[] = {"", "GET", "POST", "PUT", "DELETE"};
	CURL	   *easy = transfer->task.easy;
	CURLcode	code = CURLE_OK;

	if (transfer->method == method && transfer->has_body == has_body)
		return CURLE_OK;
	transfer->method = HTTP_NONE;
	SET(has_body ? CURLOPT_POST : CURLOPT_HTTPGET, 1L);
	SET(CURLOPT_HTTPHEADER, has_body ? transfer->peer->body_headers : transfer->peer->headers);
	SET(CURLOPT_CUSTOMREQUEST, names[method]);
	if (code == CURLE_OK)
	{
		transfer->method = method;
		transfer->has_body = has_body;
	}
	return code;
}

/* Set the URL, unless libcurl has the same, as it copies it. */
static CURLcode
set_url(CURL *easy, const char *url)
{
	char	   *present = NULL;

	if (curl_easy_getinfo(easy, CURLINFO_EFFECTIVE_URL, &present) == CURLE_OK &&
		present && strcmp(present, url) == 0)
		return CURLE_OK;
	return curl_easy_setopt(easy, CURLOPT_URL, url);
}

static CURLcode
set_request(HttpTransfer *transfer, HttpMethod method, const char *url,
			const char *body, size_t body_len)
{
	CURL	   *easy = transfer->task.easy;
	bool		has_body = body != NULL || method == HTTP_POST || method == HTTP_PUT;
	CURLcode	code = set_url(easy, url);

	if (code == CURLE_OK)
		code = set_method(transfer, method, has_body);
	if (code != CURLE_OK || !has_body)
		return code;
	if (!buffer_append(&transfer->request, body ? body : "", body_len))
		return CURLE_OUT_OF_MEMORY;
	SET(CURLOPT_POSTFIELDS, transfer->request.data);
	SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) body_len);
	return code;
}

void
transfer_release(HttpTransfer *transfer)
{
	if (transfer->task.easy)
		curl_easy_cleanup(transfer->task.easy);
	peer_release(transfer->peer);
	free(transfer->request.data);
	free(transfer->body.data);
}

void
transfer_clear(HttpTransfer *transfer)
{
	transfer->sent = false;
	transfer->too_large = false;
	transfer->no_memory = false;
	transfer->owner = NULL;
	transfer->task.paused = transfer->task.evicted = false;
	transfer->task.no_socket = 0;
	transfer->error[0] = '\0';
	buffer_reset(&transfer->request, MAX_KEPT_BODY_SIZE);
	buffer_reset(&transfer->body, MAX_KEPT_BODY_SIZE);
	memset(&transfer->answer, 0, sizeof(HttpAnswer));
	headers_clear(&transfer->answer);
}

CURLcode
transfer_prepare(HttpTransfer *transfer, HttpPeer *peer, HttpMethod method,
				 const char *url, const char *body, size_t body_len)
{
	CURLcode	code;

	transfer_clear(transfer);
	transfer->may_resend = (method == HTTP_GET);
	if (peer == NULL || transfer->task.easy == NULL)
		return CURLE_OUT_OF_MEMORY;
	code = set_peer(transfer, peer);
	if (code == CURLE_OK)
		code = set_request(transfer, method, url, body, body_len);
	return code;
}

/*
 * The end
 */

/* Return how the transfer ended; see HttpEnd. */
static HttpEnd
classify_end(const HttpTransfer *transfer, CURLcode code)
{
	if (code == CURLE_OK)
		return transfer->answer.status > 0 ? HTTP_ANSWERED : HTTP_BROKEN;
	if (code == ENGINE_NOT_BEGUN && !transfer->sent)
		return HTTP_NOT_BEGUN;
	if (transfer->too_large || code == CURLE_FILESIZE_EXCEEDED)
		return HTTP_TOO_LARGE;
	if (transfer->no_memory || code == CURLE_OUT_OF_MEMORY)
		return HTTP_OUT_OF_MEMORY;
	if (transfer->task.paused || transfer->task.evicted)
		return HTTP_NO_ROOM;
	if (transfer->sent)
		return code == CURLE_OPERATION_TIMEDOUT ? HTTP_TIMED_OUT : HTTP_BROKEN;
	if (transfer->task.no_socket != 0)
		return HTTP_NO_SOCKET;
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

/* Describe why there was no connection. */
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
			 curl_easy_getinfo(transfer->task.easy, CURLINFO_OS_ERRNO, &os_errno) == CURLE_OK &&
			 os_errno != 0)
		strlcpy(answer->error, strerror((int) os_errno), sizeof(answer->error));
	else
		strlcpy(answer->error,
				transfer->error[0] ? transfer->error : curl_easy_strerror(code),
				sizeof(answer->error));
}

/* Describe in words what went wrong. */
static void
describe_end(HttpTransfer *transfer, CURLcode code)
{
	HttpAnswer *answer = &transfer->answer;
	const char *text = transfer->error[0] ? transfer->error : curl_easy_strerror(code);

	switch (answer->end)
	{
		case HTTP_ANSWERED:
		case HTTP_NOT_BEGUN:
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
		case HTTP_NO_ROOM:
			snprintf(answer->error, sizeof(answer->error),
					 "%zu bytes of it had come, and other answers took the memory that there is for them",
					 transfer->body.len);
			return;
		case HTTP_NO_SOCKET:
			text = strerror(transfer->task.no_socket);
			break;
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

	if (transfer->task.easy)
	{
		curl_easy_getinfo(transfer->task.easy, CURLINFO_RESPONSE_CODE, &status);
		curl_easy_getinfo(transfer->task.easy, CURLINFO_TOTAL_TIME_T, &microseconds);
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
	if (transfer->peer)
	{
		if (answer->body)
			secret_redact(transfer->peer->secret, answer->body, answer->body_len);
		secret_redact(transfer->peer->secret, answer->error, strlen(answer->error));
		secret_redact(transfer->peer->secret, answer->request_id, strlen(answer->request_id));
	}
}

void
transfer_end(HttpTransfer *transfer, CURLcode code)
{
	fill_answer(transfer, code);
	transfer->state = TRANSFER_ENDED;
}

void
transfer_free_body(HttpTransfer *transfer)
{
	buffer_reset(&transfer->body, MAX_KEPT_BODY_SIZE);
}
