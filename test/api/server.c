/*
 * server.c
 *	  The HTTP side.  One thread does everything: it waits for libmicrohttpd's
 *	  epoll descriptor, a signal or the next timer, so nothing needs a lock, and
 *	  whatever takes time is a suspended connection with a timer.
 */
#define _GNU_SOURCE
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "answer.h"
#include "control.h"
#include "fault.h"
#include "limits.h"
#include "options.h"
#include "overlap.h"
#include "record.h"
#include "route.h"
#include "stats.h"
#include "traits.h"

#define HANG_CHECK 0.1			/* seconds between looks for a peer that left */
#define IDLE_TIMEOUT 300u		/* seconds that an idle connection is kept */
#define MAX_KEPT_REQUESTS 256

static struct MHD_Daemon *http;
static Request *kept[MAX_KEPT_REQUESTS];	/* zeroed, for the next requests */
static int	kept_count;

static void
die(const char *what)
{
	fprintf(stderr, "mixpeek_server: could not %s: %m\n", what);
	exit(1);
}

int
request_socket(const Request *request)
{
	return MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
}

static Request *
request_of(Timer *timer)
{
	return (Request *) ((char *) timer - offsetof(Request, timer));
}

static void
work(Request *request)
{
	route_request(request);
	request->phase = PHASE_ANSWER;
}

/*
 * The wait is over.  Work that was waited for is done here and now, since the
 * library drops a resumed connection whose peer has gone: a client which gave
 * up waiting may well have its document created later.
 */
static void
resume(Timer *timer)
{
	Request    *request = request_of(timer);

	if (request->phase == PHASE_WORK)
		work(request);
	MHD_resume_connection(request->connection);
}

/* Sets the request aside; it goes on in its phase after so many seconds. */
void
request_wait(Request *request, double seconds)
{
	request->timer.expired = resume;
	timer_start(&request->timer, seconds);
	MHD_suspend_connection(request->connection);
}

/* A suspended connection is not polled, so somebody has to look. */
static void
look_for_peer(Timer *timer)
{
	Request    *request = request_of(timer);
	struct pollfd peer = {.fd = request_socket(request),.events = POLLRDHUP};

	if (poll(&peer, 1, 0) > 0)
		MHD_resume_connection(request->connection);
	else
		timer_start(timer, HANG_CHECK);
}

/* Sets the request aside until its peer gives up. */
void
request_hang(Request *request)
{
	request->phase = PHASE_HANG;
	request->timer.expired = look_for_peer;
	timer_start(&request->timer, HANG_CHECK);
	MHD_suspend_connection(request->connection);
}

/* The library's first word about a request: the URI as it came. */
static void *
begin_request(void *cls, const char *uri, struct MHD_Connection *connection)
{
	Request    *request = kept_count ? kept[--kept_count] : allocate(sizeof(Request));

	(void) cls;
	request->connection = connection;
	request->uri = copy_bytes(uri, strlen(uri));
	request->query = strchr(request->uri, '?');
	if (request->query)
		request->query++;
	return request;
}

/* The library's last word: it is answered, or its connection has gone. */
static void
end_request(void *cls, struct MHD_Connection *connection, void **context,
			enum MHD_RequestTerminationCode code)
{
	Request    *request = *context;

	(void) cls;
	(void) connection;
	(void) code;
	if (!request)
		return;
	timer_stop(&request->timer);
	limits_release(request);
	overlap_end(request);
	fault_release(request);
	answer_drop(request);
	if (request->counted)
		stats_end();
	free(request->uri);
	free(request->collection_name);
	free(request->document_id);
	free(request->path_namespace);
	buffer_free(&request->body);
	buffer_free(&request->stream);
	memset(request, 0, sizeof(*request));
	if (kept_count < MAX_KEPT_REQUESTS)
		kept[kept_count++] = request;
	else
		free(request);
	*context = NULL;
}

static const char *
header(Request *request, const char *name)
{
	return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

static void
read_headers(Request *request, const char *method)
{
	const char *length = header(request, "Content-Length");

	request->method = method;
	request->authorization = header(request, "Authorization");
	request->namespace = header(request, "X-Namespace");
	request->content_type = header(request, "Content-Type");
	request->phase = PHASE_BODY;
	if (length && atol(length) <= MAX_BODY)
		buffer_reserve(&request->body, atol(length));
}

static void
read_body(Request *request, const char *data, size_t size)
{
	if (request->body.length + size > MAX_BODY)
	{
		request->too_large = true;
		buffer_free(&request->body);
	}
	if (!request->too_large)
		buffer_add(&request->body, data, size);
}

/* All of the request is here: control requests are answered, others let in. */
static void
admit(Request *request)
{
	if (is_control(request))
	{
		control_request(request);
		request->phase = PHASE_SEND;
		return;
	}
	request->counted = true;
	stats_begin();
	request->record = record_request(request);
	request->key = limits_key(request->authorization);
	if (request->key && !limits_admit(request))
		request->phase = PHASE_SEND;
	else
	{
		fault_pick(request);
		overlap_begin(request);
		request->phase = PHASE_ADMITTED;
	}
}

static FaultStep
finish(Request *request)
{
	FaultStep	step;

	request->phase = PHASE_SEND;
	step = fault_after_work(request);
	if (step == STEP_GO && options.latency > 0)
	{
		request_wait(request, options.latency / 1000.0);
		step = STEP_WAIT;
	}
	return step;
}

/* Adds the header that names the request, where a trait says which one. */
static void
add_request_id(Request *request)
{
	static const char *const names[] = {NULL, "x-request-id", "x-trace-id", "request-id"};
	static unsigned long long number;
	char		id[32];

	if (!names[trait(TRAIT_REQUEST_ID)])
		return;
	snprintf(id, sizeof(id), "req_%012llx", ++number);
	answer_header(request, names[trait(TRAIT_REQUEST_ID)], id);
}

static enum MHD_Result
send_answer(Request *request)
{
	enum MHD_Result result;

	if (request->counted)
	{
		stats.status[request->status < 600 ? request->status : 0]++;
		record_status(request->record, request->status);
		limits_headers(request);
		add_request_id(request);
	}
	result = MHD_queue_response(request->connection, request->status, request->response);
	MHD_destroy_response(request->response);
	request->response = NULL;
	request->phase = PHASE_SENT;
	return result;
}

/* Takes the request from phase to phase until it waits or is answered. */
static enum MHD_Result
advance(Request *request)
{
	for (;;)
	{
		FaultStep	step = STEP_GO;

		switch (request->phase)
		{
			case PHASE_BODY: admit(request); break;
			case PHASE_ADMITTED: step = fault_before_work(request); break;
			case PHASE_WORK: work(request); break;
			case PHASE_ANSWER: step = finish(request); break;
			case PHASE_SEND: return send_answer(request);
			default: return MHD_NO;
		}
		if (step != STEP_GO)
			return step == STEP_WAIT ? MHD_YES : MHD_NO;
	}
}

static enum MHD_Result
handle(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
	   const char *version, const char *data, size_t *size, void **context)
{
	Request    *request = *context;

	(void) cls;
	(void) connection;
	(void) url;
	(void) version;
	if (request->phase == PHASE_HEADERS)
	{
		read_headers(request, method);
		return MHD_YES;
	}
	if (*size)
	{
		read_body(request, data, *size);
		*size = 0;
		return MHD_YES;
	}
	return advance(request);
}

static void
count_connection(void *cls, struct MHD_Connection *connection, void **context,
				 enum MHD_ConnectionNotificationCode code)
{
	(void) cls;
	(void) connection;
	(void) context;
	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		stats.connections++;
}

/* Paths are decoded part by part, by us. */
static size_t
keep_escapes(void *cls, struct MHD_Connection *connection, char *text)
{
	(void) cls;
	(void) connection;
	return strlen(text);
}

/* Listening on 127.0.0.1; sets options.port to the port it got. */
static int
open_socket(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,.sin_port = htons(options.port),
	.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t	length = sizeof(address);
	int			on = 1;
	int			fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("open a socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *) &address, length) != 0 || listen(fd, 4096) != 0 ||
		getsockname(fd, (struct sockaddr *) &address, &length) != 0)
		die("listen");
	options.port = ntohs(address.sin_port);
	return fd;
}

static char *
read_file(const char *path)
{
	Buffer		content = {0};
	char		part[4096];
	size_t		length;
	FILE	   *file = fopen(path, "r");

	if (!file)
		die(path);
	while ((length = fread(part, 1, sizeof(part), file)) > 0)
		buffer_add(&content, part, length);
	fclose(file);
	buffer_terminate(&content);
	return content.data;
}

static void
raise_file_limit(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void
start_http(int listener)
{
	bool		tls = options.tls_cert != NULL;
	struct MHD_OptionItem extra[] = {
		{tls ? MHD_OPTION_HTTPS_MEM_CERT : MHD_OPTION_END, 0, tls ? read_file(options.tls_cert) : NULL},
		{MHD_OPTION_HTTPS_MEM_KEY, 0, tls ? read_file(options.tls_key) : NULL},
		{MHD_OPTION_END, 0, NULL}
	};

	http = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_TURBO | MHD_ALLOW_SUSPEND_RESUME | (tls ? MHD_USE_TLS : 0),
							0, NULL, NULL, handle, NULL,
							MHD_OPTION_LISTEN_SOCKET, listener,
							MHD_OPTION_CONNECTION_LIMIT, 8192u,
							MHD_OPTION_CONNECTION_TIMEOUT, IDLE_TIMEOUT,
							MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) 65536,
							MHD_OPTION_URI_LOG_CALLBACK, begin_request, NULL,
							MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
							MHD_OPTION_NOTIFY_COMPLETED, end_request, NULL,
							MHD_OPTION_NOTIFY_CONNECTION, count_connection, NULL,
							MHD_OPTION_ARRAY, extra,
							MHD_OPTION_END);
	if (!http)
		die("start the HTTP server");
}

/* Says that the server is there: the port in its file, a line on stdout. */
static void
announce(void)
{
	Buffer		path = {0};
	FILE	   *file;

	if (options.port_file)
	{
		buffer_printf(&path, "%s.%d", options.port_file, (int) getpid());
		file = fopen(buffer_terminate(&path), "w");
		if (!file || fprintf(file, "%d\n", options.port) < 0 || fclose(file) != 0 ||
			rename(path.data, options.port_file) != 0)
			die("write the port file");
		buffer_free(&path);
	}
	printf("listening on %s://127.0.0.1:%d\n", options.tls_cert ? "https" : "http", options.port);
	fflush(stdout);
}

static int
open_signals(void)
{
	sigset_t	signals;
	int			fd;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	fd = signalfd(-1, &signals, SFD_CLOEXEC);
	if (fd < 0)
		die("wait for signals");
	return fd;
}

static void
watch(int epoll, int fd)
{
	struct epoll_event event = {.events = EPOLLIN,.data.fd = fd};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		die("watch a descriptor");
}

/*
 * Sleeps until something happens or the next timer is due, not at all if the
 * library is busy.  Milliseconds would be too coarse for measuring.
 */
static int
wait_for_event(int epoll, struct epoll_event *event)
{
	double		timeout = timer_run();
	MHD_UNSIGNED_LONG_LONG library;
	struct timespec time;

	if (MHD_get_timeout(http, &library) == MHD_YES && (timeout < 0 || library / 1e3 < timeout))
		timeout = library / 1e3;
	time.tv_sec = (time_t) timeout;
	time.tv_nsec = (long) ((timeout - time.tv_sec) * 1e9);
	return epoll_pwait2(epoll, event, 1, timeout < 0 ? NULL : &time, NULL);
}

/*
 * Serves until SIGTERM or SIGINT, and then ends the process: what was answered
 * is in the journal by then, and connections under way are just dropped.
 */
void
server_run(void)
{
	int			signals = open_signals();
	int			epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event;

	raise_file_limit();
	start_http(open_socket());
	watch(epoll, signals);
	watch(epoll, MHD_get_daemon_info(http, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd);
	announce();
	for (;;)
	{
		int			ready = wait_for_event(epoll, &event);

		if (ready < 0 && errno != EINTR)
			die("wait for events");
		if (ready > 0 && event.data.fd == signals)
			_exit(0);
		if (MHD_run(http) != MHD_YES)
			die("serve");
	}
}
