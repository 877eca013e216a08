/*-------------------------------------------------------------------------
 *
 * process.c
 *		Starting the extension's background processes.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/process.h"
#include "miscadmin.h"
#include "utils/guc.h"

void
process_describe(BackgroundWorker *process, const char *type, const char *function)
{
	memset(process, 0, sizeof(BackgroundWorker));
	strlcpy(process->bgw_name, type, BGW_MAXLEN);
	strlcpy(process->bgw_type, type, BGW_MAXLEN);
	strlcpy(process->bgw_library_name, "mixpeek_docs", sizeof(process->bgw_library_name));
	strlcpy(process->bgw_function_name, function, sizeof(process->bgw_function_name));
	process->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	process->bgw_start_time = BgWorkerStart_RecoveryFinished;	/* not on a standby */
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

/*
 * A database's or role's settings are meant for its clients.  The owner of a database must not be
 * able to have API keys printed, or to make our statements slow or change their meaning.
 */
void
process_override_settings(void)
{
	static const struct
	{
		const char *name;
		const char *value;
	}			settings[] =
	{
		{"default_transaction_read_only", "off"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_deferrable", "off"},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"idle_session_timeout", "0"},
#if PG_VERSION_NUM >= 170000
		{"transaction_timeout", "0"},
#endif
		{"exit_on_error", "off"},
		{"session_replication_role", "origin"},
		{"search_path", "pg_catalog, pg_temp"},
		{"row_security", "on"},
		{"client_min_messages", "error"},
		{"debug_print_parse", "off"},
		{"debug_print_rewritten", "off"},
		{"debug_print_plan", "off"},
		{"standard_conforming_strings", "on"},
		{"transform_null_equals", "off"},
		{"array_nulls", "on"},
		{"plan_cache_mode", "auto"},
		{"max_parallel_workers_per_gather", "0"},
		{"enable_indexscan", "on"},
		{"enable_indexonlyscan", "on"},
		{"enable_bitmapscan", "on"},
		{"enable_tidscan", "on"},
		{"enable_nestloop", "on"},
		{"enable_sort", "on"},
	};

	for (int i = 0; i < (int) lengthof(settings); i++)
		SetConfigOption(settings[i].name, settings[i].value, PGC_SUSET, PGC_S_OVERRIDE);
}
