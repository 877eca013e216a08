/*-------------------------------------------------------------------------
 *
 * failure_log.c
 *		One log line for each kind of failure, with the number of failures.
 *
 * The failure of a single document is recorded in mixpeek.documents.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <limits.h>

#include "base/clock.h"
#include "nodes/pg_list.h"
#include "utils/memutils.h"
#include "worker/failure_log.h"

#define MAX_KINDS		50
#define MAX_REASON		200		/* bytes */

/* Seconds from a failure to its line while the worker is busy, and between two lines of a kind. */
#define GATHER			10.0
#define QUIET			60.0

typedef struct Kind
{
	bool		repeated;
	char		reason[MAX_REASON];
	int			count;			/* since its last line */
	double		since;			/* when the first of these was counted */
	double		quiet_until;	/* no line is written before */
} Kind;

struct FailureLog
{
	MemoryContext context;
	List	   *kinds;
};

FailureLog *
failure_log_create(void)
{
	FailureLog *log = palloc0(sizeof(FailureLog));

	log->context = CurrentMemoryContext;
	return log;
}

static Kind *
find_kind(FailureLog *log, const char *reason, bool repeated)
{
	MemoryContext old;
	Kind	   *kind;
	ListCell   *lc;

	if (list_length(log->kinds) >= MAX_KINDS)
		reason = "other reasons";
	foreach(lc, log->kinds)
	{
		kind = lfirst(lc);
		if (kind->repeated == repeated && strncmp(kind->reason, reason, MAX_REASON - 1) == 0)
			return kind;
	}
	old = MemoryContextSwitchTo(log->context);
	kind = palloc0(sizeof(Kind));
	kind->repeated = repeated;
	strlcpy(kind->reason, reason, MAX_REASON);
	log->kinds = lappend(log->kinds, kind);
	MemoryContextSwitchTo(old);
	return kind;
}

void
failure_log_count(FailureLog *log, const char *reason, bool repeated)
{
	Kind	   *kind = find_kind(log, reason, repeated);

	if (kind->count == 0)
		kind->since = clock_seconds();
	if (kind->count < INT_MAX)
		kind->count++;
}

static void
log_kind(Kind *kind, double now)
{
	if (kind->repeated)
		ereport(LOG,
				(errmsg_plural("mixpeek_docs: %d attempt failed and will be repeated: %s",
							   "mixpeek_docs: %d attempts failed and will be repeated: %s",
							   kind->count, kind->count, kind->reason)));
	else
		ereport(LOG,
				(errmsg_plural("mixpeek_docs: %d document failed: %s",
							   "mixpeek_docs: %d documents failed: %s",
							   kind->count, kind->count, kind->reason),
				 errhint("See last_error in mixpeek.documents.")));
	kind->count = 0;
	kind->quiet_until = now + QUIET;
}

double
failure_log_write(FailureLog *log, double now, bool idle)
{
	double		wait = -1;
	ListCell   *lc;

	foreach(lc, log->kinds)
	{
		Kind	   *kind = lfirst(lc);
		double		at = Max(kind->quiet_until, idle ? now : kind->since + GATHER);

		if (kind->count == 0 && kind->quiet_until > now)
			continue;
		if (kind->count == 0)
		{
			log->kinds = foreach_delete_current(log->kinds, lc);
			pfree(kind);
		}
		else if (at <= now)
			log_kind(kind, now);
		else if (wait < 0 || at - now < wait)
			wait = at - now;
	}
	return wait;
}
