/*-------------------------------------------------------------------------
 *
 * url.c
 *		Parts of URLs: what a base_url may be, escaping, and the path of a
 *		collection's documents.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <arpa/inet.h>
#include <curl/curl.h>

#include "remote/url.h"

void
url_append_escaped(StringInfo dst, const char *text)
{
	static const char hex[] = "0123456789ABCDEF";

	for (const unsigned char *p = (const unsigned char *) text; *p; p++)
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

void
url_append_documents(StringInfo dst, const char *collection)
{
	appendStringInfoString(dst, "/v1/collections/");
	url_append_escaped(dst, collection);
	appendStringInfoString(dst, "/documents");
}

/*
 * Check whether the host is 127.0.0.0/8, ::1 or "localhost".  libcurl itself resolves the last one to the
 * other two.
 */
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

/* Check whether the URL has this part. */
static bool
has_part(CURLU *parsed, CURLUPart which)
{
	char	   *text = NULL;
	bool		found = curl_url_get(parsed, which, &text, 0) == CURLUE_OK;

	curl_free(text);
	return found;
}

/* Return what is wrong with the parts that a base_url must not have, or NULL. */
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

/* Return what is wrong with scheme or host, or NULL; say whether it is http, and to this machine. */
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
url_check_base(const char *url, bool *plain, bool *loopback)
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
