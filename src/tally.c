/*-------------------------------------------------------------------------
 *
 * tally.c
 *		One log line a kind of failure, with how often it happened.
 *
 * What a single document suffers stands in mixpeek.documents.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <limits.h>

#include "limits.h"
#include "nodes/pg_list.h"
#include "tally.h"
#include "utils/memutils.h"

#define MAX_KINDS		50
#define MAX_REASON		200		/* bytes */

/* Seconds from a failure to its line while more are to be expected, and between two lines. */
#define GATHER			10.0
#define QUIET			60.0

typedef struct Kind
{
	bool		repeated;
	char		reason[MAX_REASON];
	int			count;			/* since its last line */
	double		since;			/* when the first of them was counted */
	double		quiet_until;
} Kind;

struct Tally
{
	MemoryContext context;
	List	   *kinds;
};

Tally *
tally_create(void)
{
	Tally	   *tally = palloc0(sizeof(Tally));

	tally->context = CurrentMemoryContext;
	return tally;
}

static Kind *
find_kind(Tally *tally, const char *reason, bool repeated)
{
	MemoryContext old;
	Kind	   *kind;
	ListCell   *lc;

	if (list_length(tally->kinds) >= MAX_KINDS)
		reason = "other reasons";
	foreach(lc, tally->kinds)
	{
		kind = lfirst(lc);
		if (kind->repeated == repeated && strncmp(kind->reason, reason, MAX_REASON - 1) == 0)
			return kind;
	}
	old = MemoryContextSwitchTo(tally->context);
	kind = palloc0(sizeof(Kind));
	kind->repeated = repeated;
	strlcpy(kind->reason, reason, MAX_REASON);
	tally->kinds = lappend(tally->kinds, kind);
	MemoryContextSwitchTo(old);
	return kind;
}

void
tally_count(Tally *tally, const char *reason, bool repeated)
{
	Kind	   *kind = find_kind(tally, reason, repeated);

	if (kind->count == 0)
		kind->since = limits_now();
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
tally_log(Tally *tally, double now, bool idle)
{
	double		wait = -1;
	ListCell   *lc;

	foreach(lc, tally->kinds)
	{
		Kind	   *kind = lfirst(lc);
		double		at = Max(kind->quiet_until, idle ? now : kind->since + GATHER);

		if (kind->count == 0 && kind->quiet_until > now)
			continue;
		if (kind->count == 0)
		{
			tally->kinds = foreach_delete_current(tally->kinds, lc);
			pfree(kind);
		}
		else if (at <= now)
			log_kind(kind, now);
		else if (wait < 0 || at - now < wait)
			wait = at - now;
	}
	return wait;
}
