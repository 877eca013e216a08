/*-------------------------------------------------------------------------
 *
 * confinement.c
 *		Limits an agent's process to the rights of a table's owner, and its memory.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <sys/resource.h>
#include <unistd.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "agent/confinement.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/syscache.h"

/* Bytes that the process may allocate in addition to what it has when the limit is set. */
#define MEMORY_LIMIT	((rlim_t) 256 * 1024 * 1024)

/* The address sanitizer needs far more memory for itself, and aborts if it gets none. */
#ifdef __SANITIZE_ADDRESS__
#define AGENT_SANITIZED	true
#else
#define AGENT_SANITIZED	false
#endif

static struct config_generic *
find_setting(const char *name)
{
#if PG_VERSION_NUM >= 160000
	return find_option(name, false, true, ERROR);
#else
	struct config_generic **settings = get_guc_variables();

	for (int i = 0; i < GetNumConfigOptions(); i++)
	{
		if (strcmp(settings[i]->name, name) == 0)
			return settings[i];
	}
	return NULL;
#endif
}

/* Make a setting unchangeable in this process. */
static void
lock_setting(const char *name)
{
	struct config_generic *setting = find_setting(name);

	if (setting == NULL)
		elog(ERROR, "there is no setting \"%s\"", name);
	setting->context = PGC_INTERNAL;
}

/*
 * Lock the settings by which a session changes its user.  Parallel workers are
 * disabled because they would start as the user that this process was started as.
 */
static void
lock_settings(void)
{
	SetConfigOption("max_parallel_workers", "0", PGC_USERSET, PGC_S_OVERRIDE);
	lock_setting("max_parallel_workers");
	lock_setting("session_authorization");
	lock_setting("role");
}

bool
confinement_set_owner(Oid owner)
{
	HeapTuple	tuple;

	lock_settings();
	StartTransactionCommand();
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(owner));
	if (HeapTupleIsValid(tuple))
	{
		SetSessionAuthorization(owner, ((Form_pg_authid) GETSTRUCT(tuple))->rolsuper);
		COMPAT_REPORT_USER();	/* shows the owner in pg_stat_activity */
		ReleaseSysCache(tuple);
	}
	CommitTransactionCommand();
	return HeapTupleIsValid(tuple);
}

/* Return the bytes of private writable memory, as RLIMIT_DATA counts them; 0 if that is not known. */
static rlim_t
memory_in_use(void)
{
	unsigned long size,
				resident,
				shared,
				text,
				lib,
				data;
	FILE	   *file = fopen("/proc/self/statm", "r");
	int			n = 0;

	if (file)
	{
		n = fscanf(file, "%lu %lu %lu %lu %lu %lu", &size, &resident, &shared, &text, &lib, &data);
		fclose(file);
	}
	return n == 6 ? (rlim_t) data * sysconf(_SC_PAGESIZE) : 0;
}

/* The hard limit is set as well: then only root could raise the soft one again. */
void
confinement_limit_memory(void)
{
	struct rlimit limit;

	if (AGENT_SANITIZED || getrlimit(RLIMIT_DATA, &limit) < 0)
		return;
	limit.rlim_cur = Min(limit.rlim_max, memory_in_use() + MEMORY_LIMIT);
	limit.rlim_max = limit.rlim_cur;
	if (setrlimit(RLIMIT_DATA, &limit) < 0)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("mixpeek_docs: could not limit an agent's memory: %m")));
}
