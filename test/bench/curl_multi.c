/*
 * curl_multi.c
 *	  The raw ceiling: how many creates a second one libcurl multi handle gets
 *	  out of a server, with epoll and nothing else around it.
 *
 * usage: curl_multi URL [--key K] [--namespace N] [--requests N] [--connections N] [--body FILE]
 *
 * URL is the server's, or that of a collection's documents.  Each document has
 * its own metadata.mixpeek_docs; in a body from a file, every @MARKER@ becomes
 * that text.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>

#define MARKER "@MARKER@"
#define DEFAULT_PATH "/v1/collections/bench/documents"
#define MAX_EVENTS 256

static const char *key = "sk_test";
static const char *namespace = "default";
static long request_count = 200000;
static long connection_count = 32;
static const char *body_file;
static char url[4096];

static CURLM *multi;
static int	epoll;
static double timer_at = -1;	/* when libcurl wants to be called; -1: never */
static struct curl_slist *headers;
static char *template;
static long started;
static long succeeded;
static long failed;
static char first_error[512];
static double *latencies;		/* of those that succeeded, in seconds */

/* One connection's worth of requests, one after the other. */
typedef struct Slot
{
	CURL	   *easy;
	char	   *body;
	size_t		answer_length;
	double		started_at;
} Slot;

static void
die(const char *message)
{
	fprintf(stderr, "curl_multi: %s\n", message);
	exit(1);
}

static double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static double
cpu_used(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec +
		(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* About 1 kB for the collection of the URL, in the 2025-09 form. */
static char *
default_template(void)
{
	const char *collection = strstr(url, "/v1/collections/") + strlen("/v1/collections/");
	char	   *name = curl_easy_unescape(NULL, collection, strcspn(collection, "/"), NULL);
	char	   *text;
	char		padding[401];

	memset(padding, 'x', 400);
	padding[400] = '\0';
	if (asprintf(&text, "{\"collection_id\":\"%s\",\"source_details\":[{\"type\":\"bucket\",\"source_id\":\"bench\","
				 "\"object_id\":\"" MARKER "\",\"feature_extractor_task_id\":\"none\",\"object_task_id\":\"none\","
				 "\"feature_extractor_id\":\"none\",\"source_blobs\":[]}],\"metadata\":{\"name\":\"A product of the "
				 "benchmark\",\"price\":12.5,\"section\":\"libs\",\"stock\":42,\"active\":true,\"description\":\"%s\","
				 "\"tags\":[\"one\",\"two\",\"three\"],\"mixpeek_docs\":\"" MARKER "\"},\"features\":[{"
				 "\"feature_extractor_id\":\"text\",\"payload\":{},\"vectors\":{\"embedding\":[0.12,0.23,0.34,0.45,"
				 "0.56,0.67,0.78,0.89,0.91,0.11,0.22,0.33,0.44,0.55,0.66,0.77]}}]}", name, padding) < 0)
		die("out of memory");
	curl_free(name);
	return text;
}

static char *
read_template(void)
{
	FILE	   *file;
	char	   *text = calloc(1, 16 * 1024 * 1024);

	if (!body_file)
		return default_template();
	file = fopen(body_file, "r");
	if (!file || !text || fread(text, 1, 16 * 1024 * 1024 - 1, file) == 0)
		die("could not read the body");
	fclose(file);
	return text;
}

/* The template with a marker that no other request has. */
static void
fill_body(char *into, long number)
{
	static unsigned long run;
	const char *at = template;
	const char *marker;

	if (!run)
		run = (unsigned long) time(NULL) << 20 ^ getpid();
	while ((marker = strstr(at, MARKER)))
	{
		memcpy(into, at, marker - at);
		into += marker - at;
		into += sprintf(into, "%lx-%08lx", run, number);
		at = marker + strlen(MARKER);
	}
	strcpy(into, at);
}

static size_t
count_answer(char *data, size_t size, size_t count, void *context)
{
	(void) data;
	((Slot *) context)->answer_length += size * count;
	return size * count;
}

static void
start_request(Slot *slot)
{
	fill_body(slot->body, started++);
	slot->answer_length = 0;
	slot->started_at = now();
	curl_easy_setopt(slot->easy, CURLOPT_POSTFIELDSIZE, (long) strlen(slot->body));
	curl_multi_add_handle(multi, slot->easy);
}

static void
open_slot(Slot *slot)
{
	slot->body = malloc(strlen(template) + 1024);
	slot->easy = curl_easy_init();
	if (!slot->body || !slot->easy)
		die("out of memory");
	curl_easy_setopt(slot->easy, CURLOPT_URL, url);
	curl_easy_setopt(slot->easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(slot->easy, CURLOPT_POSTFIELDS, slot->body);
	curl_easy_setopt(slot->easy, CURLOPT_WRITEFUNCTION, count_answer);
	curl_easy_setopt(slot->easy, CURLOPT_WRITEDATA, slot);
	curl_easy_setopt(slot->easy, CURLOPT_PRIVATE, slot);
	curl_easy_setopt(slot->easy, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(slot->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(slot->easy, CURLOPT_SSL_VERIFYPEER, 0L);
	curl_easy_setopt(slot->easy, CURLOPT_SSL_VERIFYHOST, 0L);
	start_request(slot);
}

static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *known)
{
	struct epoll_event event = {.data.fd = fd};

	(void) easy;
	(void) context;
	if (what == CURL_POLL_REMOVE)
	{
		epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
	if (epoll_ctl(epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0 && errno == EEXIST)
		epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
	curl_multi_assign(multi, fd, &epoll);
	return 0;
}

static int
on_timer(CURLM *handle, long milliseconds, void *context)
{
	(void) handle;
	(void) context;
	timer_at = milliseconds < 0 ? -1 : now() + milliseconds / 1e3;
	return 0;
}

static void
count_result(CURL *easy, CURLcode result, const Slot *slot)
{
	long		status = 0;

	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	if (result == CURLE_OK && status == 200)
	{
		latencies[succeeded++] = now() - slot->started_at;
		return;
	}
	if (!failed++)
		snprintf(first_error, sizeof(first_error), "%s (HTTP %ld)", curl_easy_strerror(result), status);
}

static void
take_results(void)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(multi, &left)))
	{
		CURL	   *easy = message->easy_handle;
		Slot	   *slot;

		curl_easy_getinfo(easy, CURLINFO_PRIVATE, &slot);
		count_result(easy, message->data.result, slot);
		curl_multi_remove_handle(multi, easy);
		if (started < request_count)
			start_request(slot);
	}
}

static int
time_left(void)
{
	double		left = timer_at - now();

	if (timer_at < 0)
		return 1000;
	return left <= 0 ? 0 : (int) (left * 1000) + 1;
}

static void
run(void)
{
	struct epoll_event events[MAX_EVENTS];
	int			running;

	while (succeeded + failed < request_count)
	{
		int			ready = epoll_wait(epoll, events, MAX_EVENTS, time_left());

		for (int i = 0; i < ready; i++)
			curl_multi_socket_action(multi, events[i].data.fd,
									 (events[i].events & EPOLLIN ? CURL_CSELECT_IN : 0) |
									 (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
									 (events[i].events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0), &running);
		if (timer_at >= 0 && now() >= timer_at)
		{
			timer_at = -1;
			curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
		}
		take_results();
	}
}

static void
add_header(const char *name, const char *value)
{
	char		line[1024];

	snprintf(line, sizeof(line), "%s%s", name, value);
	headers = curl_slist_append(headers, line);
}

static void
set_up(void)
{
	curl_global_init(CURL_GLOBAL_ALL);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	multi = curl_multi_init();
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, connection_count);
	curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, connection_count);
	add_header("Content-Type: ", "application/json");
	add_header("Authorization: Bearer ", key);
	add_header("X-Namespace: ", namespace);
	template = read_template();
}

static void
parse(int argc, char **argv)
{
	static const struct option known[] = {
		{"key", required_argument, NULL, 'k'},
		{"namespace", required_argument, NULL, 'n'},
		{"requests", required_argument, NULL, 'r'},
		{"connections", required_argument, NULL, 'c'},
		{"body", required_argument, NULL, 'b'},
		{NULL, 0, NULL, 0}
	};
	int			option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1)
		switch (option)
		{
			case 'k': key = optarg; break;
			case 'n': namespace = optarg; break;
			case 'r': request_count = atol(optarg); break;
			case 'c': connection_count = atol(optarg); break;
			case 'b': body_file = optarg; break;
			default: exit(2);
		}
	if (optind != argc - 1 || request_count < 1 || connection_count < 1)
		die("usage: curl_multi URL [--key K] [--namespace N] [--requests N] [--connections N] [--body FILE]");
	snprintf(url, sizeof(url), "%s%s", argv[optind], strstr(argv[optind], "/v1/collections/") ? "" : DEFAULT_PATH);
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

/* In microseconds. */
static double
quantile(double part)
{
	return succeeded ? latencies[(long) (part * (succeeded - 1))] * 1e6 : 0;
}

int
main(int argc, char **argv)
{
	Slot	   *slots;
	double		begin,
				seconds,
				cpu;

	parse(argc, argv);
	set_up();
	if (connection_count > request_count)
		connection_count = request_count;
	slots = calloc(connection_count, sizeof(Slot));
	latencies = calloc(request_count, sizeof(double));
	if (!slots || !latencies)
		die("out of memory");
	begin = now();
	cpu = cpu_used();
	for (long i = 0; i < connection_count; i++)
		open_slot(&slots[i]);
	run();
	seconds = now() - begin;
	cpu = cpu_used() - cpu;
	qsort(latencies, succeeded, sizeof(double), compare);
	printf("%ld requests, %ld connections, body %zu bytes: %.0f requests/s, %.2f s, "
		   "client CPU %.1f us a request, latency %.0f us, p99 %.0f us, %ld errors%s%s\n",
		   request_count, connection_count, strlen(slots[0].body), request_count / seconds, seconds,
		   cpu * 1e6 / request_count, quantile(0.5), quantile(0.99), failed, failed ? ": " : "", first_error);
	return failed ? 1 : 0;
}
