/*-------------------------------------------------------------------------
 *
 * hooks.h
 *		What the extension must notice of other people's statements.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_HOOKS_H
#define MIXPEEK_HOOKS_H

/* From _PG_init(), where the library is preloaded. */
extern void hooks_install(void);

#endif							/* MIXPEEK_HOOKS_H */
