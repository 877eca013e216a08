/*
 * limits.h
 *	  Who is let in, and how often: API keys and their token buckets.
 */
#ifndef LIMITS_H
#define LIMITS_H

#include "request.h"

typedef struct ApiKey
{
	const char *secret;
	double		tokens;
	double		counted_at;		/* clock_now() of tokens */
	long		in_flight;
} ApiKey;

extern void limits_start(void);
extern void limits_refill(void);
extern ApiKey *limits_key(const char *authorization);
extern bool limits_admit(Request *request);
extern void limits_release(Request *request);
extern void limits_headers(Request *request);

#endif
