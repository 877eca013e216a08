/*-------------------------------------------------------------------------
 *
 * api_key_hooks.h
 *		Keeps API keys in statements from being shown.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_API_KEY_HOOKS_H
#define MIXPEEK_API_KEY_HOOKS_H

/* Install the hooks; called by _PG_init() if the library is preloaded. */
extern void api_key_hooks_install(void);

#endif							/* MIXPEEK_API_KEY_HOOKS_H */
