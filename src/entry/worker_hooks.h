/*-------------------------------------------------------------------------
 *
 * worker_hooks.h
 *		What the launcher and the workers must learn of sessions' statements.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_WORKER_HOOKS_H
#define MIXPEEK_WORKER_HOOKS_H

/* Install the hooks; called by _PG_init() if the library is preloaded. */
extern void worker_hooks_install(void);

#endif							/* MIXPEEK_WORKER_HOOKS_H */
