/*-------------------------------------------------------------------------
 *
 * serve.c
 *		What an agent does for a request of the worker.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xact.h"
#include "agent/reading.h"
#include "agent/reply.h"
#include "agent/serve.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/guard.h"
#include "base/settings.h"
#include "commands/trigger.h"
#include "mirror/source_table.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"

/* Most seconds from a write-back to its commit: other sessions may wait for the row. */
#define COMMIT_DELAY	0.05

/* Write-backs of a request may take so many times mixpeek.read_timeout; the remaining ones are missed. */
#define MAX_WRITE_TIMEOUTS	3

/* The request that is being served. */
static int	timeouts_before;	/* guard_timeouts() at its beginning */
static bool together_too_long;	/* reading all its rows at once took too long,
								 * which is no single row's fault */

/*
 * Transactions
 */

static void
begin_transaction(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, "mixpeek_docs: functions of a mirrored table's owner");
}

/*
 * Make all constraints of the transaction immediate.  Deferred triggers would run at
 * commit, outside of the guard and of the security-restricted operation.
 */
static void
make_constraints_immediate(void)
{
	ConstraintsSetStmt *statement = makeNode(ConstraintsSetStmt);

	AfterTriggerSetState(statement);
}

/*
 * Commit.  None of the owner's code is left to run; if there were any, it would still
 * run with the owner's rights, and be ended after mixpeek.read_timeout.
 */
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

/*
 * Lock the table and compile its mirror, in the current memory context.  Return NULL
 * if the request cannot be served; *why is set then.
 */
static Mirror *
lock_mirror(Oid relation, const char *collection, AgentEnd *why)
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
send_row(void *arg, int i, const RenderedRow *row)
{
	reply_row(i, row);
}

static AgentEnd
serve_read(MessageReader *reader)
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
	reading.take_row = send_row;
	reading.mirror = lock_mirror(relation, collection, &why);
	if (reading.mirror == NULL)
		return why;
	reading.mirror->marker_prefix = unconstify(char *, marker_prefix);
	reading_run(&reading);
	together_too_long = reading.together_too_long && reading.nkeys > 1;
	for (int i = 0; i < reading.nkeys; i++)
	{
		if (reading.keys[i].end != ROW_FOUND)
			reply_key_end(i, reading.keys[i].end, reading.keys[i].problem);
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
scan_keys_guarded(void *arg)
{
	ScanCall   *call = arg;

	call->keys = source_table_scan_keys(call->mirror, call->after, call->limit);
}

static AgentEnd
serve_scan(MessageReader *reader, char **problem)
{
	Oid			relation = (Oid) message_get_int(reader);
	const char *collection = message_get_text(reader);
	ScanCall	call = {0};
	ListCell   *lc;
	AgentEnd	why;

	call.limit = (int) message_get_int(reader);
	call.after = message_get_text(reader);
	call.mirror = lock_mirror(relation, collection, &why);
	if (call.mirror == NULL)
		return why;
	*problem = guard_call_within(scan_keys_guarded, &call, mixpeek_read_timeout, NULL);
	if (*problem)
		return AGENT_FAILED;
	foreach(lc, call.keys)
		reply_key(lfirst(lc));
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
	bool		clear;			/* enrichments NULL: clear the column */
	Jsonb	   *enrichments;
	bool		done;
} WriteCall;

static void
write_row(void *arg)
{
	WriteCall  *call = arg;

	call->done = source_table_write_back(call->mirror, call->key, call->document_id, call->enrichments, call->clear);
}

static Jsonb *
get_jsonb(MessageReader *reader)
{
	int			len;
	const char *bytes = message_get_bytes(reader, &len);

	return bytes ? memcpy(palloc(len), bytes, len) : NULL;
}

/* The write-backs of a request: up to first they are committed and reported, up to n done. */
typedef struct Written
{
	int			first;
	int			n;
	WriteEnd   *ends;
	char	  **problems;
} Written;

/* Commit the write-backs, report them, and begin another transaction. */
static void
commit_written(Written *written)
{
	MemoryContext context = CurrentMemoryContext;

	end_transaction();
	for (int i = written->first; i < written->n; i++)
		reply_key_end(i, written->ends[i], written->problems[i]);
	written->first = written->n;
	begin_transaction();
	MemoryContextSwitchTo(context);
}

/* Write the next key's values.  late: no time is left, so the key is missed. */
static void
write_next(Written *written, WriteCall *call, bool late)
{
	char	   *problem = NULL;

	call->done = false;
	if (!late)
		problem = guard_call_within(write_row, call, mixpeek_read_timeout, NULL);
	written->problems[written->n] = problem;
	written->ends[written->n++] = problem ? WRITE_FAILED : call->done ? WRITE_DONE : WRITE_MISSED;
}

static AgentEnd
serve_write_back(MessageReader *reader)
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
			make_constraints_immediate();
			call.mirror = lock_mirror(relation, collection, &why);
			commit_at = clock_seconds() + COMMIT_DELAY;
		}
		if (call.mirror == NULL)
			return why;
		call.key = message_get_text(reader);
		call.document_id = message_get_text(reader);
		call.clear = message_get_int(reader) != 0;
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
 * All requests
 */

void
serve_request(const void *data, Size len)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "mixpeek request",
												  ALLOCSET_DEFAULT_SIZES);
	MessageReader reader;
	char	   *problem = NULL;
	AgentEnd	end = AGENT_FAILED;
	char		kind = message_open(&reader, data, len);

	timeouts_before = guard_timeouts();
	together_too_long = false;
	begin_transaction();
	MemoryContextSwitchTo(context);
	if (kind == MESSAGE_READ)
		end = serve_read(&reader);
	else if (kind == MESSAGE_SCAN)
		end = serve_scan(&reader, &problem);
	else if (kind == MESSAGE_WRITE_BACK)
		end = serve_write_back(&reader);
	end_transaction();
	crash_note_clear();
	reply_end(end, guard_timeouts() - timeouts_before - together_too_long, together_too_long, problem);
	MemoryContextSwitchTo(TopMemoryContext);
	MemoryContextDelete(context);
}
