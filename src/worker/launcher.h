/*-------------------------------------------------------------------------
 *
 * launcher.h
 *		Starts one worker in every database that has the extension.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_LAUNCHER_H
#define MIXPEEK_LAUNCHER_H

/* Register the launcher.  To be called by _PG_init() while the postmaster loads the library. */
extern void launcher_register(void);

/* Background worker entry point of the launcher. */
extern PGDLLEXPORT void mixpeek_launcher_main(Datum main_arg);

#endif							/* MIXPEEK_LAUNCHER_H */
