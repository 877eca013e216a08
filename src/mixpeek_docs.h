/*-------------------------------------------------------------------------
 *
 * mixpeek_docs.h
 *		Settings of the extension.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_DOCS_H
#define MIXPEEK_DOCS_H

extern bool mixpeek_allow_http; /* mixpeek.allow_http */
extern int	mixpeek_max_attempts;	/* mixpeek.max_attempts */
extern int	mixpeek_retry_max_delay;	/* mixpeek.retry_max_delay, seconds */

extern char *mixpeek_instance;	/* mixpeek.instance */

#endif							/* MIXPEEK_DOCS_H */
