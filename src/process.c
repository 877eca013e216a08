/*-------------------------------------------------------------------------
 *
 * process.c
 *		The extension's background processes, as they are all started.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "miscadmin.h"
#include "process.h"

void
process_describe(BackgroundWorker *process, const char *type, const char *function)
{
	memset(process, 0, sizeof(BackgroundWorker));
	strlcpy(process->bgw_name, type, BGW_MAXLEN);
	strlcpy(process->bgw_type, type, BGW_MAXLEN);
	strlcpy(process->bgw_library_name, "mixpeek_docs", sizeof(process->bgw_library_name));
	strlcpy(process->bgw_function_name, function, sizeof(process->bgw_function_name));
	process->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	process->bgw_start_time = BgWorkerStart_RecoveryFinished;	/* a standby waits */
	process->bgw_restart_time = BGW_NEVER_RESTART;
}

BackgroundWorkerHandle *
process_start(const char *name, const char *type, const char *function, Datum argument)
{
	BackgroundWorker process;
	BackgroundWorkerHandle *handle;

	process_describe(&process, type, function);
	strlcpy(process.bgw_name, name, BGW_MAXLEN);
	process.bgw_main_arg = argument;
	process.bgw_notify_pid = MyProcPid;
	return RegisterDynamicBackgroundWorker(&process, &handle) ? handle : NULL;
}
