/*-------------------------------------------------------------------------
 *
 * agent.h
 *		Processes in which the code of tables' owners runs.
 *
 * Whatever may call a function of a user (a row's reading where a policy, a type
 * or a domain has one; every write-back, where triggers are) is done by an agent: a
 * background worker with the rights of the table's owner and no more.  It is started
 * when needed, one an owner and MAX_AGENTS in all, and ended when idle.  The worker
 * hands it requests, takes the results as they come, and never waits for it.
 *
 * An owner whose code had to be cancelled, or has ended its agent, rests before the next
 * request, twice as long each time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_AGENT_H
#define MIXPEEK_AGENT_H

#include "agent/agent_process.h"
#include "agent/reading.h"
#include "state/job.h"
#include "state/outbox.h"
#include "worker/account.h"

/* Agents of one worker at a time. */
#define MAX_AGENTS		4

typedef struct AgentResult
{
	RowEnd		row;			/* AGENT_READ */
	WriteEnd	write;			/* AGENT_WRITE_BACK */
	char	   *problem;
} AgentResult;

typedef struct AgentRequest
{
	MemoryContext context;		/* of all of it */
	AgentTask	task;
	Oid			owner;
	Oid			relation;
	char	   *collection;
	Mirror	   *mirror;			/* that the worker has compiled */
	OutboxEntry *expansion;		/* AGENT_SCAN: whose place the keys follow */
	int			limit;			/* AGENT_SCAN: keys */
	int			njobs;
	int			max_jobs;
	Job		  **jobs;

	/* filled in by the agent */
	AgentEnd	end;
	char	   *problem;
	AgentResult *results;		/* of each job */
	List	   *keys;			/* AGENT_SCAN: char * */
} AgentRequest;

typedef struct Agents Agents;

/* The agents of the worker; in memory that lives as long as it. */
extern Agents *agents_create(MemoryContext parent);

/*
 * Could an owner's agent, for whom there is a request, take it up now?  If not, an idle one
 * may have to end for it; agents_turn() says when that may have changed, and agents_rest()
 * how long an owner still rests, in seconds.  agents_could_take() asks only: true also if an
 * idle one would have to end.
 */
extern bool agents_take(Agents *agents, Oid owner);
extern bool agents_could_take(Agents *agents, Oid owner);
extern double agents_rest(Agents *agents, Oid owner);

/* Can no agent be started, for want of a background worker slot? */
extern bool agents_have_no_slot(const Agents *agents);

/* Jobs that a request for the owner may hold: one, where it is not known which row ended the agent. */
extern int	agents_batch(Agents *agents, Oid owner);

/* A request without jobs for a mirror, and one job more. */
extern AgentRequest *agents_request(Agents *agents, AgentTask task, Mirror *mirror, const char *collection);
extern void agents_add_job(AgentRequest *request, Job *job);

/* Hands a request over; it is the agents' until agents_next_ended() returns it.  After an error it is not. */
extern void agents_send(Agents *agents, AgentRequest *request);

/*
 * Moves what can be moved without waiting.  True if something has changed: a request
 * has ended, or an owner that could not be served may be now.
 */
extern bool agents_turn(Agents *agents);

/* A request that has ended, to be given back with agents_free_request(); or NULL. */
extern AgentRequest *agents_next_ended(Agents *agents);
extern void agents_free_request(AgentRequest *request);

/* Requests handed over and not yet taken back. */
extern int	agents_pending(const Agents *agents);

/* Seconds until agents_turn() has something to do without being woken, or -1. */
extern double agents_wait(Agents *agents);

#endif							/* MIXPEEK_AGENT_H */
