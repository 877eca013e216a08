/*-------------------------------------------------------------------------
 *
 * install_notice.h
 *		Says at CREATE EXTENSION what it means that the library is not preloaded.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_INSTALL_NOTICE_H
#define MIXPEEK_INSTALL_NOTICE_H

/* Install the hook that notes CREATE EXTENSION; called once a backend, by _PG_init(). */
extern void install_notice_init(void);

#endif							/* MIXPEEK_INSTALL_NOTICE_H */
