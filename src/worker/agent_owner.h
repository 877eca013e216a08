/*-------------------------------------------------------------------------
 *
 * agent_owner.h
 *		What the worker remembers of an owner whose code agents run.
 *
 * An owner whose code had to be cancelled, or has ended its agent, is served again
 * only after a rest, which is doubled each time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_AGENT_OWNER_H
#define MIXPEEK_AGENT_OWNER_H

#include "nodes/pg_list.h"

typedef struct AgentOwner
{
	Oid			owner;
	double		rest;			/* seconds of the last rest; 0: the last
								 * request caused none */
	double		rests_until;
	bool		slow;			/* the last request took long */
	int			max_jobs;		/* of its next request */
} AgentOwner;

/* Find the owner in the list; if it is not there, add it, in the current memory context. */
extern AgentOwner *agent_owner_find(List **owners, Oid owner);

/* Check whether the owner's last request took long, or caused a rest.  Such owners share some of the agents. */
extern bool agent_owner_is_slow(const AgentOwner *owner);

/*
 * Note that a request ended by itself after so many seconds.  timed_out: some code
 * was cancelled; too_many: the next one is to have a quarter of its njobs.
 */
extern void agent_owner_note_end(AgentOwner *owner, double seconds, bool timed_out, bool too_many, int njobs);

/* Note that the owner's agent died during a request: only requests for one job show which row is the cause. */
extern void agent_owner_note_death(AgentOwner *owner);

#endif							/* MIXPEEK_AGENT_OWNER_H */
