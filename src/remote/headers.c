/*-------------------------------------------------------------------------
 *
 * headers.c
 *		The headers of an answer that say when the next request may be sent.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <curl/curl.h>
#include <time.h>

#include "remote/headers.h"

/* The longest wait that a header can ask for, in seconds. */
#define MAX_WAIT	3600.0

static double
seconds_from_now(double unix_time)
{
	return Max(0.0, unix_time - (double) time(NULL));
}

/* Larger numbers are ignored; a unix time in milliseconds is smaller. */
#define MAX_NUMBER		1e13

/* Return a number that is not negative, or HTTP_NO_HEADER. */
static double
read_number(const char *value)
{
	char	   *end;
	double		number = strtod(value, &end);

	while (*end == ' ' || *end == '\t')
		end++;
	if (end == value || *end != '\0' || !(number >= 0 && number <= MAX_NUMBER))
		return HTTP_NO_HEADER;
	return number;
}

/* Return the seconds of Retry-After, which is a number of seconds or an HTTP date. */
static double
read_retry_after(const char *value)
{
	double		seconds = read_number(value);
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

/*
 * Return the seconds of X-RateLimit-Reset, which is a unix time in the API's documentation, and
 * a number of seconds elsewhere.
 */
static double
read_reset(const char *value)
{
	double		number = read_number(value);
	double		seconds = number > 1e9 ? seconds_from_now(number) : number;

	return Min(seconds, MAX_WAIT);
}

void
headers_clear(HttpAnswer *answer)
{
	answer->retry_after = HTTP_NO_HEADER;
	answer->limit = HTTP_NO_HEADER;
	answer->remaining = HTTP_NO_HEADER;
	answer->reset = HTTP_NO_HEADER;
	answer->window = HTTP_NO_HEADER;
	answer->request_id[0] = '\0';
}

/* Check whether a header names the request; the contracts do not say which one does. */
static bool
is_request_id(const char *name)
{
	return pg_strcasecmp(name, "x-request-id") == 0 || pg_strcasecmp(name, "x-trace-id") == 0 ||
		pg_strcasecmp(name, "request-id") == 0;
}

/* Store a request id of visible ASCII characters, unless there is one already. */
static void
take_request_id(HttpAnswer *answer, const char *value)
{
	size_t		length = 0;

	while (value[length] > ' ' && value[length] < 0x7f)
		length++;
	if (answer->request_id[0] != '\0' || value[length] != '\0' || length > HTTP_MAX_REQUEST_ID)
		return;
	memcpy(answer->request_id, value, length + 1);
}

void
headers_take(HttpAnswer *answer, const char *name, const char *value)
{
	if (pg_strcasecmp(name, "retry-after") == 0)
		answer->retry_after = read_retry_after(value);
	else if (pg_strcasecmp(name, "x-ratelimit-limit") == 0)
		answer->limit = read_number(value);
	else if (pg_strcasecmp(name, "x-ratelimit-remaining") == 0)
		answer->remaining = read_number(value);
	else if (pg_strcasecmp(name, "x-ratelimit-reset") == 0)
		answer->reset = read_reset(value);
	else if (pg_strcasecmp(name, "x-ratelimit-window") == 0)
		answer->window = read_number(value);
	else if (is_request_id(name))
		take_request_id(answer, value);
}
