/*
 * limits.c
 *	  API keys and their token buckets.  A bucket fills by rate/60 tokens a
 *	  second up to the burst; a request that is refused costs nothing.
 */
#include "limits.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "answer.h"
#include "options.h"

static ApiKey *keys;

static double
bucket_size(void)
{
	if (options.burst >= 1)
		return options.burst;
	return options.rate >= 3 ? floor(options.rate / 3) : 1;
}

void
limits_start(void)
{
	keys = allocate(options.api_keys.count * sizeof(ApiKey));
	for (int i = 0; i < options.api_keys.count; i++)
		keys[i].secret = options.api_keys.items[i];
	limits_refill();
}

/* Fills every bucket: at the start, and when the limits change. */
void
limits_refill(void)
{
	for (int i = 0; i < options.api_keys.count; i++)
	{
		keys[i].tokens = bucket_size();
		keys[i].counted_at = clock_now();
	}
}

/* The key of an Authorization header; NULL if it has none that is known. */
ApiKey *
limits_key(const char *authorization)
{
	if (!authorization || strncasecmp(authorization, "Bearer ", 7) != 0)
		return NULL;
	for (int i = 0; i < options.api_keys.count; i++)
		if (strcmp(keys[i].secret, authorization + 7) == 0)
			return &keys[i];
	return NULL;
}

static void
refuse(Request *request, const char *what, long seconds)
{
	char		details[128];
	char		value[32];

	snprintf(details, sizeof(details), "{\"retry_after\":%ld,\"api_name\":\"documents\"}", seconds);
	snprintf(value, sizeof(value), "%ld", seconds);
	answer_error(request, 429, details, "%s", what);
	answer_header(request, "Retry-After", value);
}

static void
refill(ApiKey *key)
{
	double		now = clock_now();

	key->tokens = fmin(bucket_size(), key->tokens + (now - key->counted_at) * options.rate / 60);
	key->counted_at = now;
}

/* Lets the request of a known key in, or answers 429. */
bool
limits_admit(Request *request)
{
	ApiKey	   *key = request->key;

	if (options.concurrency && key->in_flight >= options.concurrency)
	{
		refuse(request, "Too many requests at once", 1);
		return false;
	}
	if (options.rate > 0)
	{
		refill(key);
		if (key->tokens < 1)
		{
			refuse(request, "Rate limit exceeded", (long) ceil((1 - key->tokens) * 60 / options.rate));
			return false;
		}
		key->tokens -= 1;
	}
	key->in_flight++;
	request->admitted = true;
	return true;
}

/* The request is over. */
void
limits_release(Request *request)
{
	if (request->admitted)
		request->key->in_flight--;
	request->admitted = false;
}

static void
number_header(Request *request, const char *name, double value)
{
	char		text[32];

	snprintf(text, sizeof(text), "%.0f", value);
	answer_header(request, name, text);
}

/* X-RateLimit-*, where there is a limit; Reset is when the bucket is full. */
void
limits_headers(Request *request)
{
	if (options.rate <= 0 || !request->key)
		return;
	refill(request->key);
	number_header(request, "X-RateLimit-Limit", options.rate);
	number_header(request, "X-RateLimit-Remaining", floor(request->key->tokens));
	number_header(request, "X-RateLimit-Reset",
				  ceil(clock_wall() + (bucket_size() - request->key->tokens) * 60 / options.rate));
	number_header(request, "X-RateLimit-Window", 60);
}
