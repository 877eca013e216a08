/*-------------------------------------------------------------------------
 *
 * agent_owner.c
 *		What the worker remembers of an owner whose code agents run.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <limits.h>

#include "base/clock.h"
#include "base/settings.h"
#include "worker/agent_owner.h"

/* Seconds of an owner's first rest, and of its longest. */
#define MIN_REST		1.0
#define MAX_REST		300.0

/* Longest rest, in seconds, after a request whose rows took long together, but none of them too long. */
#define MAX_PAUSE		5.0

/* A request that took so many seconds makes its owner a slow one. */
#define SLOW_TIME		0.5

/* The limit of jobs is doubled up to this number, and then lifted. */
#define LARGE_REQUEST	256

AgentOwner *
agent_owner_find(List **owners, Oid oid)
{
	AgentOwner *owner;
	ListCell   *lc;

	foreach(lc, *owners)
	{
		owner = lfirst(lc);
		if (owner->owner == oid)
			return owner;
	}
	owner = palloc0(sizeof(AgentOwner));
	owner->owner = oid;
	owner->max_jobs = INT_MAX;
	*owners = lappend(*owners, owner);
	return owner;
}

bool
agent_owner_is_slow(const AgentOwner *owner)
{
	return owner->rest > 0 || owner->slow;
}

static void
begin_rest(AgentOwner *owner)
{
	owner->rest = owner->rest == 0 ? MIN_REST : Min(owner->rest * 2, MAX_REST);
	owner->rests_until = clock_seconds() + owner->rest;
}

/* After a long request without a timeout, other owners that wait are served first. */
static void
note_duration(AgentOwner *owner, double seconds)
{
	owner->rest = 0;
	if (seconds * 1000 >= mixpeek_read_timeout)
		owner->rests_until = clock_seconds() + Min(seconds / 2, MAX_PAUSE);
}

void
agent_owner_note_end(AgentOwner *owner, double seconds, bool timed_out, bool too_many, int njobs)
{
	if (owner->max_jobs < INT_MAX)
		owner->max_jobs = owner->max_jobs < LARGE_REQUEST ? owner->max_jobs * 2 : INT_MAX;
	owner->slow = seconds >= SLOW_TIME;
	if (timed_out)
		begin_rest(owner);
	else
		note_duration(owner, seconds);
	if (too_many)
		owner->max_jobs = Max(1, njobs / 4);
}

void
agent_owner_note_death(AgentOwner *owner)
{
	owner->max_jobs = 1;
	begin_rest(owner);
}
