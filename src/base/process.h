/*-------------------------------------------------------------------------
 *
 * process.h
 *		Starting the extension's background processes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_PROCESS_H
#define MIXPEEK_PROCESS_H

#include "postmaster/bgworker.h"

/*
 * Fill in the description of a process of this library.  type is its backend_type in
 * pg_stat_activity, function its entry point.  It may connect to a database, and is not
 * restarted.
 */
extern void process_describe(BackgroundWorker *process, const char *type, const char *function);

/*
 * Start a process with an argument; this process is notified of its end.  Returns its handle, in
 * the current memory context, or NULL if no background worker slot is free.
 */
extern BackgroundWorkerHandle *process_start(const char *name, const char *type,
											 const char *function, Datum argument);

/*
 * Override settings that a database or role must not change for a process of this library.  To be
 * called when the process has connected.
 */
extern void process_override_settings(void);

#endif							/* MIXPEEK_PROCESS_H */
