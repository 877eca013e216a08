/*-------------------------------------------------------------------------
 *
 * agent_process.c
 *		Processes in which the code of tables' owners runs: the process itself.
 *
 * It is the table's owner from before the first request until it ends: as session
 * user and as current user, so that there is nothing else to go back to.  That it was
 * started as another user is out of reach: the settings by which a session changes its
 * user are locked.  Requests run as a security-restricted operation besides, with
 * limits of time and memory that nothing in them can lift.
 *
 * It knows nothing between two requests: each finds its table by oid, locks it,
 * compiles the mirror from what the catalog says then, and checks that the owner is
 * the one that it runs as.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <sys/resource.h>
#include <unistd.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "agent/agent_process.h"
#include "agent/message.h"
#include "agent/reading.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/guard.h"
#include "base/process.h"
#include "base/settings.h"
#include "catalog/pg_authid.h"
#include "commands/trigger.h"
#include "mirror/source_table.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

/* Bytes that the owner's code may take on top of what the process has at its start. */
#define MEMORY_LIMIT	((rlim_t) 256 * 1024 * 1024)

/* The address sanitizer takes many times as much for itself, and aborts where it gets none. */
#ifdef __SANITIZE_ADDRESS__
#define AGENT_SANITIZED	true
#else
#define AGENT_SANITIZED	false
#endif

/* Milliseconds that are left to code whose cancel has been asked for, and which goes on. */
#define GRACE			1000

/* Write-backs are committed at least so often, in seconds: other sessions wait for their rows. */
#define COMMIT_DELAY	0.05

/* So many write-backs of a request may take mixpeek.read_timeout; the others are missed. */
#define MAX_WRITE_TIMEOUTS	3

static shm_mq_handle *to_worker;
static StringInfoData message;
static int	timeouts_before;	/* the request that is being done */
static bool too_many;			/* its rows took too long together, which says
								 * nothing of any of them */

/*
 * Becoming the owner
 */

shm_mq_handle *
agent_process_queue(dsm_segment *segment, AgentQueue which, bool worker)
{
	char	   *start = (char *) dsm_segment_address(segment) + MAXALIGN(sizeof(AgentShared));
	shm_mq	   *queue = (shm_mq *) (start + which * AGENT_QUEUE_SIZE);

	if (worker)
		queue = shm_mq_create(queue, AGENT_QUEUE_SIZE);
	if (worker == (which == AGENT_TO_PROCESS))
		shm_mq_set_sender(queue, MyProc);
	else
		shm_mq_set_receiver(queue, MyProc);
	return shm_mq_attach(queue, segment, NULL);
}

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

/* Nobody changes the setting any more in this process. */
static void
lock_setting(const char *name)
{
	struct config_generic *setting = find_setting(name);

	if (setting == NULL)
		elog(ERROR, "there is no setting \"%s\"", name);
	setting->context = PGC_INTERNAL;
}

/*
 * A parallel worker would be started as the user that this process was started
 * as; so there are none.
 */
static void
lock_settings(void)
{
	SetConfigOption("max_parallel_workers", "0", PGC_USERSET, PGC_S_OVERRIDE);
	lock_setting("max_parallel_workers");
	lock_setting("session_authorization");
	lock_setting("role");
}

/* False if there is no such role any more. */
static bool
become(Oid owner)
{
	HeapTuple	tuple;

	StartTransactionCommand();
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(owner));
	if (HeapTupleIsValid(tuple))
	{
		SetSessionAuthorization(owner, ((Form_pg_authid) GETSTRUCT(tuple))->rolsuper);
		COMPAT_REPORT_USER();	/* whose code it runs is to be seen */
		ReleaseSysCache(tuple);
	}
	CommitTransactionCommand();
	return HeapTupleIsValid(tuple);
}

/* Bytes of private memory that can be written to, as RLIMIT_DATA counts them; 0 if that is not known. */
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

/* Both the soft and the hard limit: only root could raise it again. */
static void
limit_memory(void)
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

/*
 * Answering
 */

/*
 * A message must go as a whole, or the next one would be taken for the rest of it; and that the
 * worker has other things to do is not the owner's fault.
 */
static void
send_bytes(const char *data, Size len)
{
	shm_mq_result result = COMPAT_SHM_MQ_SEND(to_worker, len, data, true);

	if (result == SHM_MQ_WOULD_BLOCK)
	{
		guard_pause();
		result = COMPAT_SHM_MQ_SEND(to_worker, len, data, false);
		guard_resume();
	}
	if (result != SHM_MQ_SUCCESS)
		proc_exit(0);			/* the worker is gone */
}

static void
send_message(void)
{
	send_bytes(message.data, message.len);
}

static void
send_text(const char *text, int len)
{
	for (int sent = 0; sent < len; sent += MESSAGE_CHUNK)
	{
		message_begin(&message, MESSAGE_BYTES);
		message_put_bytes(&message, text + sent, Min(len - sent, MESSAGE_CHUNK));
		send_message();
	}
}

static void
send_key_end(int i, int end, const char *problem)
{
	message_begin(&message, MESSAGE_KEY_END);
	message_put_int(&message, i);
	message_put_int(&message, end);
	message_put_text(&message, problem);
	send_message();
}

static void
send_end(AgentEnd end, const char *problem)
{
	message_begin(&message, MESSAGE_END);
	message_put_int(&message, end);
	message_put_int(&message, guard_timeouts() - timeouts_before - too_many);
	message_put_int(&message, too_many);
	message_put_text(&message, problem);
	send_message();
}

/*
 * Finding the mirror
 */

static void
begin_transaction(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, "mixpeek_docs: functions of a mirrored table's owner");
}

/*
 * What triggers would do at the transaction's end they do with the row, while that is
 * restricted and guarded.
 */
static void
defer_nothing(void)
{
	ConstraintsSetStmt *statement = makeNode(ConstraintsSetStmt);

	AfterTriggerSetState(statement);
}

/* Nothing of the owner is left to run; if it were, it would run as the owner, and within the time. */
static void
end_transaction(void)
{
	guard_begin_deadline(mixpeek_read_timeout);
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	CommitTransactionCommand();
	guard_end_deadline();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* The mirror as it is now, and why there is none, in the current memory context. */
static Mirror *
find_mirror(Oid relation, const char *collection, AgentEnd *why)
{
	Mirror	   *mirror;

	*why = AGENT_LOCKED;
	if (!ConditionalLockRelationOid(relation, RowExclusiveLock))
		return NULL;
	crash_note_stored(relation);
	AcceptInvalidationMessages();
	*why = AGENT_CHANGED;
	mirror = mirror_find(relation, collection, CurrentMemoryContext);
	if (mirror == NULL || mirror->owner != GetSessionUserId() || mirror->problem || mirror->key == NULL)
		return NULL;
	return mirror;
}

/*
 * READ
 */

static void
take_row(void *arg, int i, const RenderedRow *row)
{
	message_begin(&message, MESSAGE_ROW);
	message_put_int(&message, i);
	message_put_int(&message, row->content_len);
	message_put_int(&message, row->features ? row->features_len : -1);
	send_message();
	send_text(row->content, row->content_len);
	if (row->features)
		send_text(row->features, row->features_len);
	send_key_end(i, ROW_FOUND, NULL);
}

static AgentEnd
read_request(MessageReader *reader)
{
	Oid			relation = (Oid) message_get_int(reader);
	const char *collection = message_get_text(reader);
	const char *marker_prefix = message_get_text(reader);
	Reading		reading = {0};
	AgentEnd	why;

	reading.room.bytes = message_get_int(reader);
	reading.room.one = message_get_int(reader) != 0;
	reading.nkeys = (int) message_get_int(reader);
	reading.keys = palloc0(sizeof(ReadKey) * (reading.nkeys + 1));
	for (int i = 0; i < reading.nkeys; i++)
	{
		reading.keys[i].key = message_get_text(reader);
		reading.keys[i].marker = message_get_text(reader);
	}
	reading.take_row = take_row;
	reading.mirror = find_mirror(relation, collection, &why);
	if (reading.mirror == NULL)
		return why;
	reading.mirror->marker_prefix = unconstify(char *, marker_prefix);
	reading_run(&reading);
	too_many = reading.together_too_long && reading.nkeys > 1;
	for (int i = 0; i < reading.nkeys; i++)
	{
		if (reading.keys[i].end != ROW_FOUND)
			send_key_end(i, reading.keys[i].end, reading.keys[i].problem);
	}
	return AGENT_DONE;
}

/*
 * SCAN
 */

typedef struct ScanCall
{
	Mirror	   *mirror;
	const char *after;
	int			limit;
	List	   *keys;
} ScanCall;

static void
scan_keys(void *arg)
{
	ScanCall   *call = arg;

	call->keys = source_table_scan_keys(call->mirror, call->after, call->limit);
}

static AgentEnd
scan_request(MessageReader *reader, char **problem)
{
	Oid			relation = (Oid) message_get_int(reader);
	const char *collection = message_get_text(reader);
	ScanCall	call = {0};
	ListCell   *lc;
	AgentEnd	why;

	call.limit = (int) message_get_int(reader);
	call.after = message_get_text(reader);
	call.mirror = find_mirror(relation, collection, &why);
	if (call.mirror == NULL)
		return why;
	*problem = guard_call_within(scan_keys, &call, mixpeek_read_timeout, NULL);
	if (*problem)
		return AGENT_FAILED;
	foreach(lc, call.keys)
	{
		message_begin(&message, MESSAGE_KEY);
		message_put_text(&message, lfirst(lc));
		send_message();
	}
	return AGENT_DONE;
}

/*
 * WRITE_BACK
 */

typedef struct WriteCall
{
	Mirror	   *mirror;
	const char *key;
	const char *document_id;
	Jsonb	   *enrichments;
	bool		done;
} WriteCall;

static void
write_back(void *arg)
{
	WriteCall  *call = arg;

	call->done = source_table_write_back(call->mirror, call->key, call->document_id, call->enrichments);
}

static Jsonb *
get_jsonb(MessageReader *reader)
{
	int			len;
	const char *bytes = message_get_bytes(reader, &len);

	return bytes ? memcpy(palloc(len), bytes, len) : NULL;
}

/* The write-backs of one transaction. */
typedef struct Written
{
	int			first;
	int			n;
	WriteEnd   *ends;
	char	  **problems;
} Written;

/* What is committed is reported, and not before; then another transaction begins. */
static void
commit_written(Written *written)
{
	MemoryContext context = CurrentMemoryContext;

	end_transaction();
	for (int i = written->first; i < written->n; i++)
		send_key_end(i, written->ends[i], written->problems[i]);
	written->first = written->n;
	begin_transaction();
	MemoryContextSwitchTo(context);
}

static void
write_next(Written *written, WriteCall *call, bool late)
{
	char	   *problem = NULL;

	call->done = false;
	if (!late)
		problem = guard_call_within(write_back, call, mixpeek_read_timeout, NULL);
	written->problems[written->n] = problem;
	written->ends[written->n++] = problem ? WRITE_FAILED : call->done ? WRITE_DONE : WRITE_MISSED;
}

static AgentEnd
write_request(MessageReader *reader)
{
	Oid			relation = (Oid) message_get_int(reader);
	const char *collection = message_get_text(reader);
	int			nkeys = (int) message_get_int(reader);
	Written		written = {0};
	WriteCall	call = {0};
	double		give_up_at = clock_seconds() + MAX_WRITE_TIMEOUTS * mixpeek_read_timeout / 1000.0;
	double		commit_at = 0;
	AgentEnd	why;

	written.ends = palloc0(sizeof(WriteEnd) * (nkeys + 1));
	written.problems = palloc0(sizeof(char *) * (nkeys + 1));
	while (written.n < nkeys)
	{
		if (call.mirror == NULL)
		{
			defer_nothing();
			call.mirror = find_mirror(relation, collection, &why);
			commit_at = clock_seconds() + COMMIT_DELAY;
		}
		if (call.mirror == NULL)
			return why;
		call.key = message_get_text(reader);
		call.document_id = message_get_text(reader);
		call.enrichments = get_jsonb(reader);
		write_next(&written, &call, clock_seconds() >= give_up_at);
		if (clock_seconds() < commit_at && written.n < nkeys)
			continue;
		commit_written(&written);
		call.mirror = NULL;
	}
	return AGENT_DONE;
}

/*
 * The process
 */

static void
run_request(const void *data, Size len)
{
	MessageReader reader;
	char	   *problem = NULL;
	AgentEnd	end = AGENT_FAILED;
	char		kind = message_open(&reader, data, len);

	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "mixpeek request",
												  ALLOCSET_DEFAULT_SIZES);

	timeouts_before = guard_timeouts();
	too_many = false;
	begin_transaction();
	MemoryContextSwitchTo(context);
	if (kind == MESSAGE_READ)
		end = read_request(&reader);
	else if (kind == MESSAGE_SCAN)
		end = scan_request(&reader, &problem);
	else if (kind == MESSAGE_WRITE_BACK)
		end = write_request(&reader);
	end_transaction();
	crash_note_clear();
	send_end(end, problem);
	MemoryContextSwitchTo(TopMemoryContext);
	MemoryContextDelete(context);
}

static void
run_requests(shm_mq_handle *from_worker)
{
	for (;;)
	{
		void	   *data;
		Size		len;

		if (shm_mq_receive(from_worker, &len, &data, false) != SHM_MQ_SUCCESS)
			return;
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		run_request(data, len);
	}
}

static dsm_segment *
attach(Datum main_arg)
{
	dsm_segment *segment;

	CurrentResourceOwner = ResourceOwnerCreate(NULL, "mixpeek_docs agent");
	segment = dsm_attach(DatumGetUInt32(main_arg));
	if (segment)
		dsm_pin_mapping(segment);
	return segment;
}

/*
 * Entry point; the argument is the handle of the memory shared with the worker.  Ends
 * when the worker has let go of it, at SIGTERM, or with an error.
 */
void
mixpeek_agent_main(Datum main_arg)
{
	dsm_segment *segment;
	shm_mq_handle *from_worker;
	AgentShared *shared;

	pqsignal(SIGTERM, crash_die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	segment = attach(main_arg);
	if (segment == NULL)
		proc_exit(0);			/* the worker is gone, or did not wait */
	shared = dsm_segment_address(segment);
	from_worker = agent_process_queue(segment, AGENT_TO_PROCESS, false);
	to_worker = agent_process_queue(segment, AGENT_FROM_PROCESS, false);
	BackgroundWorkerInitializeConnectionByOid(shared->database, InvalidOid, 0);
	process_override_settings();
	crash_open(shared->database, shared->crash_slot);
	lock_settings();
	if (!become(shared->owner))
		proc_exit(0);
	guard_set_grace(GRACE);
	limit_memory();
	MemoryContextSwitchTo(TopMemoryContext);
	initStringInfo(&message);
	run_requests(from_worker);
	proc_exit(0);
}
