/*-------------------------------------------------------------------------
 *
 * redact.c
 *		Removing a secret from what the server sends back.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "remote/redact.h"

struct Secret
{
	size_t		len;
	char	   *text;
	bool		has[256];		/* is the character in it? */
	size_t	   *fallback;		/* failure function of Knuth, Morris and
								 * Pratt: how many characters still match if
								 * the one behind the i-th does not */
	size_t	   *starts;			/* ring: offsets of the last len characters of
								 * the text */
};

static void
fill_fallback(Secret *secret)
{
	size_t		matched = 0;

	secret->fallback[0] = 0;
	for (size_t i = 1; i < secret->len; i++)
	{
		while (matched > 0 && secret->text[i] != secret->text[matched])
			matched = secret->fallback[matched - 1];
		if (secret->text[i] == secret->text[matched])
			matched++;
		secret->fallback[i] = matched;
	}
}

Secret *
secret_create(const char *text)
{
	Secret	   *secret = calloc(1, sizeof(Secret));

	if (secret == NULL)
		return NULL;
	secret->len = strlen(text);
	secret->text = strdup(text);
	secret->fallback = calloc(secret->len + 1, sizeof(size_t));
	secret->starts = calloc(secret->len + 1, sizeof(size_t));
	if (secret->text == NULL || secret->fallback == NULL || secret->starts == NULL)
	{
		secret_free(secret);
		return NULL;
	}
	for (const char *p = text; *p; p++)
		secret->has[(unsigned char) *p] = true;
	fill_fallback(secret);
	return secret;
}

void
secret_free(Secret *secret)
{
	if (secret == NULL)
		return;
	if (secret->text)
		explicit_bzero(secret->text, secret->len);
	free(secret->text);
	free(secret->fallback);
	free(secret->starts);
	free(secret);
}

/* Return the value of n hexadecimal digits, or -1. */
static int
hex_value(const char *digits, int n)
{
	int			value = 0;

	for (int i = 0; i < n; i++)
	{
		char		c = pg_tolower((unsigned char) digits[i]);

		if (c >= '0' && c <= '9')
			value = value * 16 + (c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value * 16 + (c - 'a' + 10);
		else
			return -1;
	}
	return value;
}

/*
 * Return the character at p, escaped or not, or '\0' for one that cannot be in a secret; set *n to
 * the number of its bytes.
 */
static char
read_character(const char *p, const char *end, size_t *n)
{
	int			code;

	*n = 1;
	if (*p == '%' && end - p >= 3 && (code = hex_value(p + 1, 2)) >= 0)
		*n = 3;
	else if (*p == '\\' && end - p >= 6 && p[1] == 'u' && (code = hex_value(p + 2, 4)) >= 0)
		*n = 6;
	else if (*p == '\\' && end - p >= 2 && strchr("\"\\/", p[1]))
	{
		code = p[1];
		*n = 2;
	}
	else
		return *p;
	return code < 0x80 ? (char) code : '\0';
}

/* Check whether one of the secret's characters is in the text with an escape that begins with "kind". */
static bool
has_escape(const Secret *secret, const char *text, const char *end, char kind)
{
	const char *p = text;

	while (p < end && (p = memchr(p, kind, end - p)) != NULL)
	{
		size_t		n;
		char		c = read_character(p, end, &n);

		if (n > 1 && secret->has[(unsigned char) c])
			return true;
		p += n;
	}
	return false;
}

/* Overwrite occurrences without escapes. */
static void
redact_plain(const Secret *secret, char *text, const char *end)
{
	while ((text = memmem(text, end - text, secret->text, secret->len)) != NULL)
	{
		memset(text, '*', secret->len);
		text += secret->len;
	}
}

/* Overwrite occurrences with or without escapes. */
static void
redact_escaped(Secret *secret, char *text, const char *end)
{
	size_t		matched = 0;
	size_t		nth = 0;
	size_t		n;

	for (char *p = text; p < end; p += n, nth++)
	{
		char		c = read_character(p, end, &n);

		secret->starts[nth % secret->len] = p - text;
		while (matched > 0 && c != secret->text[matched])
			matched = secret->fallback[matched - 1];
		if (c == secret->text[matched])
			matched++;
		if (matched == secret->len)
		{
			size_t		start = secret->starts[(nth + 1) % secret->len];

			memset(text + start, '*', p + n - (text + start));
			matched = 0;
		}
	}
}

void
secret_redact(Secret *secret, char *text, size_t len)
{
	const char *end = text + len;

	if (secret->len < MIN_SECRET || len < secret->len)
		return;
	redact_plain(secret, text, end);
	if (has_escape(secret, text, end, '\\') || has_escape(secret, text, end, '%'))
		redact_escaped(secret, text, end);
}
