/*-------------------------------------------------------------------------
 *
 * settings.h
 *		Settings of the extension.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_SETTINGS_H
#define MIXPEEK_SETTINGS_H

extern bool mixpeek_enabled;	/* mixpeek.enabled */
extern bool mixpeek_allow_http; /* mixpeek.allow_http: may a base_url be plain
								 * http to another machine? */
extern int	mixpeek_max_attempts;	/* mixpeek.max_attempts */
extern int	mixpeek_retry_max_delay;	/* mixpeek.retry_max_delay, seconds */
extern int	mixpeek_read_timeout;	/* mixpeek.read_timeout, milliseconds */

extern char *mixpeek_instance;	/* mixpeek.instance */
extern char *mixpeek_witness_directory; /* mixpeek.witness_directory */

/*
 * In a build for tests (MIXPEEK_WEAKEN) one safeguard at a time can be switched off, to show that
 * the tests notice.  The WEAKEN_BY_... values make the worker fail at a table with the name
 * "doomed", and an agent at one with the name "forsaken".
 */
typedef enum Weakness
{
	WEAKEN_NOTHING,
	WEAKEN_INTENT_FLUSH,
	WEAKEN_LOOK_UP,
	WEAKEN_IN_FLIGHT_GUARD,
	WEAKEN_BY_FAULT,
	WEAKEN_BY_ERROR,
	WEAKEN_BY_STALL
} Weakness;

#ifdef MIXPEEK_WEAKEN
extern int	mixpeek_weaken;		/* mixpeek.weaken */
extern char *mixpeek_root;		/* mixpeek.root: the parent of /sys, /proc,
								 * /etc and /run for instance_probe.c */
#define WEAKENED(what) (mixpeek_weaken == (what))
#else
#define WEAKENED(what) false
#endif

#endif							/* MIXPEEK_SETTINGS_H */
