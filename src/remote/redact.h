/*-------------------------------------------------------------------------
 *
 * redact.h
 *		Removing a secret from what the server sends back.  Pure.
 *
 * Gateways may echo a request's headers as an aid for debugging.  A hostile server may do so to
 * show the key to users who read an error or a document.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_REDACT_H
#define MIXPEEK_REDACT_H

/* Shorter keys, in bytes, are not removed: they are in many texts by chance. */
#define MIN_SECRET		8

typedef struct Secret Secret;

/* Return a secret, which is visible ASCII, in the form for secret_redact(); NULL if there is no memory. */
extern Secret *secret_create(const char *text);

/* Free a secret and overwrite its memory; secret may be NULL. */
extern void secret_free(Secret *secret);

/*
 * Overwrite each occurrence of the secret in text by asterisks, one for each byte.  Any of its
 * characters may be written as an escape of JSON or of URLs.  Takes linear time for any text.
 */
extern void secret_redact(Secret *secret, char *text, size_t len);

#endif							/* MIXPEEK_REDACT_H */
