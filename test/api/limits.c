/*
 * limits.c
 *	  API keys and their token buckets, one a key or one a category.  A bucket
 *	  fills by rate/60 tokens a second up to the burst; a request that is refused
 *	  costs nothing.
 */
#include "limits.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "answer.h"
#include "options.h"
#include "route.h"
#include "traits.h"

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
		for (int category = 0; category < CATEGORIES; category++)
			keys[i].buckets[category] = (TokenBucket) {bucket_size(), clock_now()};
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

/* The bucket that the request is counted in, filled up to now. */
static TokenBucket *
bucket_of(Request *request)
{
	TokenBucket *bucket = &request->key->buckets[trait(TRAIT_RATE_BY) ? route_category(request) : 0];
	double		now = clock_now();

	bucket->tokens = fmin(bucket_size(), bucket->tokens + (now - bucket->counted_at) * options.rate / 60);
	bucket->counted_at = now;
	return bucket;
}

/* Lets the request of a known key in, or answers 429. */
bool
limits_admit(Request *request)
{
	ApiKey	   *key = request->key;

	if (options.concurrency && key->in_flight >= options.concurrency)
	{
		answer_too_many(request, "Too many requests at once", 1);
		return false;
	}
	if (options.rate > 0)
	{
		TokenBucket *bucket = bucket_of(request);

		if (bucket->tokens < 1)
		{
			answer_too_many(request, "Rate limit exceeded", (long) ceil((1 - bucket->tokens) * 60 / options.rate));
			return false;
		}
		bucket->tokens -= 1;
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
	TokenBucket *bucket;

	if (options.rate <= 0 || !request->key)
		return;
	bucket = bucket_of(request);
	number_header(request, "X-RateLimit-Limit", options.rate);
	number_header(request, "X-RateLimit-Remaining", floor(bucket->tokens));
	number_header(request, "X-RateLimit-Reset",
				  ceil(clock_wall() + (bucket_size() - bucket->tokens) * 60 / options.rate));
	number_header(request, "X-RateLimit-Window", 60);
}
