/*-------------------------------------------------------------------------
 *
 * process.h
 *		The extension's background processes, as they are all started.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_PROCESS_H
#define MIXPEEK_PROCESS_H

#include "postmaster/bgworker.h"

/*
 * Describes a process of this library: type is what pg_stat_activity shows as its
 * backend_type, function its entry point.  It may connect to a database, and is not
 * restarted.
 */
extern void process_describe(BackgroundWorker *process, const char *type, const char *function);

/*
 * Starts a process whose end this one is told of, for an argument.  Returns its handle, in
 * the current memory context; NULL if no background worker slot is free.
 */
extern BackgroundWorkerHandle *process_start(const char *name, const char *type,
											 const char *function, Datum argument);

/*
 * Set what a database's or a role's settings are not to change in a process of this library.  To be
 * called once the process is connected.
 */
extern void process_override_settings(void);

#endif							/* MIXPEEK_PROCESS_H */
