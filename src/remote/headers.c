/*-------------------------------------------------------------------------
 *
 * headers.c
 *		What an answer's headers say of when the next request may come.
 *
 * They may say anything.  Called in the engine's thread: it neither raises nor pallocs.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <curl/curl.h>
#include <time.h>

#include "remote/headers.h"

/* An answer's headers put nothing off for longer, in seconds. */
#define MAX_WAIT	3600.0

static double
seconds_from_now(double unix_time)
{
	return Max(0.0, unix_time - (double) time(NULL));
}

/* Larger ones are not believed; a unix time in milliseconds is smaller. */
#define MAX_NUMBER		1e13

/* A number that is not negative, or HTTP_NO_HEADER. */
static double
header_number(const char *value)
{
	char	   *end;
	double		number = strtod(value, &end);

	while (*end == ' ' || *end == '\t')
		end++;
	if (end == value || *end != '\0' || !(number >= 0 && number <= MAX_NUMBER))
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

	double		seconds = number > 1e9 ? seconds_from_now(number) : number;

	return Min(seconds, MAX_WAIT);
}

void
headers_forget(HttpAnswer *answer)
{
	answer->retry_after = HTTP_NO_HEADER;
	answer->limit = HTTP_NO_HEADER;
	answer->remaining = HTTP_NO_HEADER;
	answer->reset = HTTP_NO_HEADER;
	answer->window = HTTP_NO_HEADER;
}

void
headers_take(HttpAnswer *answer, const char *name, const char *value)
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
