/*-------------------------------------------------------------------------
 *
 * agent.h
 *		One agent, as the worker sees it: its process, its queues and its requests.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_AGENT_H
#define MIXPEEK_AGENT_H

#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/shm_mq.h"
#include "worker/agent_owner.h"
#include "worker/agent_request.h"

typedef struct Agent
{
	AgentOwner *owner;
	EndedRequests *ended;		/* where requests go that have ended */
	BackgroundWorkerHandle *handle;
	dsm_segment *segment;		/* NULL: the process is ending or has ended */
	shm_mq_handle *out;
	shm_mq_handle *in;
	List	   *requests;		/* the first one is under way */
	StringInfoData message;		/* of the first request, while it is being
								 * sent */
	bool		sending;
	double		started_at;		/* when sending the first request began; 0: it
								 * has not */
	double		idle_since;		/* when the last request ended */

	/* the row that is being received */
	Job		   *job;
	int			received;		/* bytes of its content and features */
	bool		receiving;		/* a message is being read; still set in the
								 * next turn if an error was raised */
} Agent;

/* What an agent died of, if nothing else is known. */
#define AGENT_PROCESS_ENDED "the process that ran the owner's functions ended"

/*
 * Start an agent in the current memory context.  place numbers the worker's agents
 * from 0.  Return NULL if there is no shared memory or no background worker slot for
 * it, of which the former is logged.
 */
extern Agent *agent_start(AgentOwner *owner, EndedRequests *ended, int place);

/*
 * Detach from the agent, so that it ends, and terminate it if it has requests.  Its
 * requests end with problem (or NULL): the one under way as end says, the other ones
 * as AGENT_NOT_BEGUN.  Does nothing if the agent is detached already.
 */
extern void agent_end(Agent *agent, AgentEnd end, const char *problem);

/* End an agent that died, or has to be ended, during a request. */
extern void agent_note_death(Agent *agent, const char *problem);

/* Check whether the process has ended. */
extern bool agent_has_stopped(const Agent *agent);

/* Free an agent whose process has ended. */
extern void agent_free(Agent *agent);

#endif							/* MIXPEEK_AGENT_H */
