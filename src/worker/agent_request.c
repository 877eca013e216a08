/*-------------------------------------------------------------------------
 *
 * agent_request.c
 *		A request that the worker makes of an agent, with its results.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "utils/memutils.h"
#include "worker/agent_request.h"

AgentRequest *
agent_request_create(MemoryContext parent, AgentTask task, Mirror *mirror, const char *collection)
{
	MemoryContext context = AllocSetContextCreate(parent, "mixpeek agent request", ALLOCSET_SMALL_SIZES);
	AgentRequest *request = MemoryContextAllocZero(context, sizeof(AgentRequest));

	request->context = context;
	request->task = task;
	request->owner = mirror->owner;
	request->relation = mirror->relation;
	request->collection = MemoryContextStrdup(context, collection);
	request->mirror = mirror;
	mirror->njobs++;
	return request;
}

void
agent_request_add_job(AgentRequest *request, Job *job)
{
	if (request->njobs == request->max_jobs)
	{
		request->max_jobs = Max(16, request->max_jobs * 2);
		if (request->jobs == NULL)
			request->jobs = MemoryContextAlloc(request->context, sizeof(Job *) * request->max_jobs);
		else
			request->jobs = repalloc(request->jobs, sizeof(Job *) * request->max_jobs);
	}
	request->jobs[request->njobs++] = job;
	job->delegated = true;
}

void
agent_request_prepare_results(AgentRequest *request)
{
	request->results = MemoryContextAllocZero(request->context,
											  sizeof(AgentResult) * (request->njobs + 1));
}

void
agent_request_end(EndedRequests *ended, AgentRequest *request, AgentEnd end, const char *problem)
{
	MemoryContext old = MemoryContextSwitchTo(ended->context);

	request->end = end;
	request->problem = problem ? MemoryContextStrdup(request->context, problem) : NULL;
	ended->list = lappend(ended->list, request);
	ended->grown = true;
	MemoryContextSwitchTo(old);
}

void
agent_request_free(AgentRequest *request)
{
	request->mirror->njobs--;
	MemoryContextDelete(request->context);
}
