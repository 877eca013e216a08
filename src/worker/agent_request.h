/*-------------------------------------------------------------------------
 *
 * agent_request.h
 *		A request that the worker makes of an agent, with its results.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_AGENT_REQUEST_H
#define MIXPEEK_AGENT_REQUEST_H

#include "agent/message.h"
#include "agent/reading.h"
#include "state/job.h"
#include "state/outbox.h"

typedef enum AgentTask
{
	AGENT_READ,					/* read and render the rows of the jobs' keys */
	AGENT_SCAN,					/* list the keys that follow one */
	AGENT_WRITE_BACK			/* write the jobs' document ids and
								 * enrichments into their rows */
} AgentTask;

typedef struct AgentResult
{
	RowEnd		row;			/* AGENT_READ */
	WriteEnd	write;			/* AGENT_WRITE_BACK */
	char	   *problem;		/* or NULL */
} AgentResult;

typedef struct AgentRequest
{
	MemoryContext context;		/* of all that follows */
	AgentTask	task;
	Oid			owner;
	Oid			relation;
	char	   *collection;
	Mirror	   *mirror;			/* as the worker has compiled it */
	OutboxEntry *expansion;		/* AGENT_SCAN: the keys follow this entry's
								 * key */
	int			limit;			/* AGENT_SCAN: most keys */
	int			njobs;
	int			max_jobs;
	Job		  **jobs;

	/* set when the request has ended */
	AgentEnd	end;
	char	   *problem;		/* or NULL */
	AgentResult *results;		/* of each job */
	List	   *keys;			/* AGENT_SCAN: char * */
} AgentRequest;

/* Requests that have ended and were not yet taken back. */
typedef struct EndedRequests
{
	MemoryContext context;		/* of the list */
	List	   *list;
	bool		grown;			/* since the flag was last cleared */
} EndedRequests;

/* Return a request without jobs for a mirror, which is kept until the request is freed. */
extern AgentRequest *agent_request_create(MemoryContext parent, AgentTask task, Mirror *mirror,
										  const char *collection);

/* Add a job, which is marked as delegated. */
extern void agent_request_add_job(AgentRequest *request, Job *job);

/* Make room for a result of each job. */
extern void agent_request_prepare_results(AgentRequest *request);

/* Note how the request ended, and add it to the ended ones; problem may be NULL. */
extern void agent_request_end(EndedRequests *ended, AgentRequest *request, AgentEnd end,
							  const char *problem);

extern void agent_request_free(AgentRequest *request);

#endif							/* MIXPEEK_AGENT_REQUEST_H */
