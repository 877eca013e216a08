/*-------------------------------------------------------------------------
 *
 * redact.h
 *		Taking a secret out of what the other side sends back.  Pure.
 *
 * Gateways that are to help with debugging echo a request's headers, and a hostile
 * server would do it so that others read the key in an error or in a document.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_REDACT_H
#define MIXPEEK_REDACT_H

/* Shorter keys are not looked for: they are no secrets, and stand in many a text by chance. */
#define MIN_SECRET		8

typedef struct Secret Secret;

/* Malloc'd, as it is used where nothing may be raised; NULL: no memory.  secret is visible ASCII. */
extern Secret *secret_create(const char *text);
extern void secret_free(Secret *secret);

/*
 * Overwrites each occurrence of the secret by as many asterisks as it has bytes there:
 * as it is, or with some of its characters as JSON's or as a URL's escapes.  The time it
 * takes is linear, whatever the text.
 */
extern void secret_redact(Secret *secret, char *text, size_t len);

#endif							/* MIXPEEK_REDACT_H */
