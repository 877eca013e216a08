/*
 * limits.h
 *	  Who is let in, and how often: API keys and their token buckets.
 */
#ifndef LIMITS_H
#define LIMITS_H

#include "request.h"

/* What requests are counted as, where limits are a category each. */
typedef enum Category
{
	CATEGORY_METADATA, CATEGORY_DATA, CATEGORIES
} Category;

typedef struct TokenBucket
{
	double		tokens;
	double		counted_at;		/* clock_now() of tokens */
} TokenBucket;

typedef struct ApiKey
{
	const char *secret;
	TokenBucket buckets[CATEGORIES];	/* only the first, unless limits are a category each */
	long		in_flight;
} ApiKey;

extern void limits_start(void);
extern void limits_refill(void);
extern ApiKey *limits_key(const char *authorization);
extern bool limits_admit(Request *request);
extern void limits_release(Request *request);
extern void limits_headers(Request *request);

#endif
