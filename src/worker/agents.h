/*-------------------------------------------------------------------------
 *
 * agents.h
 *		The processes in which the code of tables' owners runs.
 *
 * Whatever may call a function of a user (reading a row if a policy, a type or a domain
 * has one; every write-back, because of triggers) is done by an agent: a background
 * worker with the rights of the table's owner and no more.  It is started when needed,
 * one for an owner and MAX_AGENTS in all, and ended when idle.  The worker sends it
 * requests, takes the results as they arrive, and never waits for it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_AGENTS_H
#define MIXPEEK_AGENTS_H

#include "worker/agent_request.h"

/* Most agents of one worker. */
#define MAX_AGENTS		4

typedef struct Agents Agents;

/* Return the agents of this worker, of which none is started.  They end with the process. */
extern Agents *agents_create(MemoryContext parent);

/*
 * Check whether a request for the owner can be sent now.  If not, an idle agent of another owner is
 * ended if that makes room for it.  agents_turn() returns true when the answer may
 * have changed.
 */
extern bool agents_make_room(Agents *agents, Oid owner);

/* Check whether a request could be sent now, or after an idle agent has ended, without ending one. */
extern bool agents_may_serve(Agents *agents, Oid owner);

/* Return the seconds for which the owner is not served, because its code was too slow or ended its agent. */
extern double agents_rest_left(Agents *agents, Oid owner);

/* Check whether no agent can be started at present, because there is no background worker slot. */
extern bool agents_have_no_slot(const Agents *agents);

/* Return how many jobs a request for the owner may hold: one if it is not known which row ended the agent. */
extern int	agents_max_jobs(Agents *agents, Oid owner);

/*
 * Send a request to its owner's agent, which is started if necessary.  The request
 * belongs to the agents until agents_next_ended() returns it; it does not if an error
 * is raised.
 */
extern void agents_send(Agents *agents, AgentRequest *request);

/*
 * Send and receive what is possible without waiting, and end agents that are idle or
 * take too long.  Return true if a request has ended, or an owner that could not be
 * served may be served now.
 */
extern bool agents_turn(Agents *agents);

/* Return a request that has ended, to be freed by the caller, or NULL. */
extern AgentRequest *agents_next_ended(Agents *agents);

/* Return the number of requests that were sent and not yet returned by agents_next_ended(). */
extern int	agents_pending(const Agents *agents);

/* Return the seconds until agents_turn() has something to do even if no message arrives, or -1. */
extern double agents_wait(Agents *agents);

#endif							/* MIXPEEK_AGENTS_H */
