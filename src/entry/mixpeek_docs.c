/*-------------------------------------------------------------------------
 *
 * mixpeek_docs.c
 *		The module's entry point: settings and hooks.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/extension.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "base/statement.h"
#include "base/wakeup.h"
#include "entry/api_key_hooks.h"
#include "entry/install_notice.h"
#include "entry/object_checks.h"
#include "entry/trigger.h"
#include "entry/worker_hooks.h"
#include "fmgr.h"
#include "mirror/bound_statement.h"
#include "miscadmin.h"
#include "state/outbox_buffer.h"
#include "utils/guc.h"
#include "worker/launcher.h"

/* MIXPEEK_VERSION is the control file's default_version; the Makefile defines it. */
#ifdef PG_MODULE_MAGIC_EXT
PG_MODULE_MAGIC_EXT(.name = EXTENSION_NAME,.version = MIXPEEK_VERSION);
#else
PG_MODULE_MAGIC;
#endif

extern PGDLLEXPORT void _PG_init(void);

bool		mixpeek_allow_http = false;
bool		mixpeek_enabled = true;
int			mixpeek_max_attempts = 10;
int			mixpeek_retry_max_delay = 300;
int			mixpeek_read_timeout = 10000;
char	   *mixpeek_instance = NULL;
char	   *mixpeek_witness_directory = NULL;

#ifdef MIXPEEK_WEAKEN
int			mixpeek_weaken = WEAKEN_NOTHING;
char	   *mixpeek_root = NULL;

static const struct config_enum_entry weaknesses[] = {
	{"nothing", WEAKEN_NOTHING, false},
	{"intent_flush", WEAKEN_INTENT_FLUSH, false},
	{"look_up", WEAKEN_LOOK_UP, false},
	{"in_flight_guard", WEAKEN_IN_FLIGHT_GUARD, false},
	{"by_fault", WEAKEN_BY_FAULT, false},
	{"by_error", WEAKEN_BY_ERROR, false},
	{"by_stall", WEAKEN_BY_STALL, false},
	{NULL, 0, false}
};
#endif

static void
define_settings(void)
{
#ifdef MIXPEEK_WEAKEN
	DefineCustomEnumVariable("mixpeek.weaken", "Switches off a safeguard.", NULL,
							 &mixpeek_weaken, WEAKEN_NOTHING, weaknesses,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("mixpeek.root", "Says where the machine's files are.", NULL,
							   &mixpeek_root, "", PGC_SIGHUP, 0, NULL, NULL, NULL);
#endif
	DefineCustomBoolVariable("mixpeek.enabled",
							 "Lets the worker mirror; while it is off, keys wait in the outbox.",
							 NULL,
							 &mixpeek_enabled, true,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("mixpeek.allow_http",
							 "Allows plain http to hosts other than this machine.",
							 "The API key and all data are then readable on the network.",
							 &mixpeek_allow_http, false,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("mixpeek.max_attempts",
							"Sets how often a document is tried before it counts as failed.",
							"Attempts while the server cannot be used are not counted.",
							&mixpeek_max_attempts, 10, 1, 1000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("mixpeek.retry_max_delay",
							"Sets the longest delay between two attempts.",
							NULL,
							&mixpeek_retry_max_delay, 300, 1, 86400,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("mixpeek.read_timeout",
							"Sets the longest time that the worker spends on reading a row, or on writing to it.",
							"The table's functions run in this time, while other tables wait.",
							&mixpeek_read_timeout, 10000, 1, 3600000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomStringVariable("mixpeek.instance",
							   "Names the place where this server runs.",
							   "A server whose documents belong to another place sends nothing. If empty, the place is recognized by host, disk, data directory and more.",
							   &mixpeek_instance, "",
							   PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("mixpeek.witness_directory",
							   "Sets the directory of a file that tells whether the data directory went back to an earlier time.",
							   "It must not be a part of the same snapshots as the data directory. If empty, it is that of the server's first Unix socket.",
							   &mixpeek_witness_directory, "",
							   PGC_SIGHUP, 0, NULL, NULL, NULL);
#if PG_VERSION_NUM >= 150000
	MarkGUCPrefixReserved("mixpeek");
#else
	EmitWarningsOnPlaceholders("mixpeek");
#endif
}

void
_PG_init(void)
{
	define_settings();
	bound_statement_init();
	wakeup_init();
	outbox_init();
	statement_init();
	trigger_init();
	object_checks_init();
	install_notice_init();
	if (process_shared_preload_libraries_in_progress && !IsBinaryUpgrade)
	{
		shmem_request();
		worker_hooks_install();
		api_key_hooks_install();
		launcher_register();
	}
}
