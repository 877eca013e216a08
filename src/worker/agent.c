/*-------------------------------------------------------------------------
 *
 * agent.c
 *		One agent, as the worker sees it: how its process starts and ends.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "agent/channel.h"
#include "base/crash.h"
#include "base/process.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "worker/agent.h"

/* Return NULL if there is no background worker slot. */
static BackgroundWorkerHandle *
start_agent_process(dsm_segment *segment)
{
	char		name[BGW_MAXLEN];

	snprintf(name, sizeof(name), "mixpeek_docs agent for database %u", MyDatabaseId);
	return process_start(name, "mixpeek_docs agent", "mixpeek_agent_main",
						 UInt32GetDatum(dsm_segment_handle(segment)));
}

static Agent *
create_agent(AgentOwner *owner, EndedRequests *ended, int place, dsm_segment *segment)
{
	Agent	   *agent = palloc0(sizeof(Agent));
	AgentShared *shared = dsm_segment_address(segment);

	shared->database = MyDatabaseId;
	shared->owner = owner->owner;
	shared->crash_slot = CRASH_WORKER + 1 + place;
	agent->owner = owner;
	agent->ended = ended;
	agent->segment = segment;
	agent->out = channel_attach(segment, AGENT_TO_PROCESS, true);
	agent->in = channel_attach(segment, AGENT_FROM_PROCESS, true);
	agent->handle = start_agent_process(segment);
	initStringInfo(&agent->message);
	return agent;
}

/*
 * Return NULL if there is no shared memory.  That is no error of the worker, since
 * mirrors that need no agent go on.
 */
static dsm_segment *
create_segment(void)
{
	MemoryContext context = CurrentMemoryContext;
	dsm_segment *volatile segment = NULL;

	PG_TRY();
	{
		segment = dsm_create(AGENT_SHARED_SIZE, DSM_CREATE_NULL_IF_MAXSEGMENTS);
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(context);
		edata = CopyErrorData();
		if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();
		FlushErrorState();
		ereport(LOG,
				(errmsg("mixpeek_docs: no shared memory for an owner's functions: %s", edata->message)));
		FreeErrorData(edata);
	}
	PG_END_TRY();
	return segment;
}

Agent *
agent_start(AgentOwner *owner, EndedRequests *ended, int place)
{
	dsm_segment *segment = create_segment();
	Agent	   *agent;

	if (segment == NULL)
		return NULL;
	dsm_pin_mapping(segment);	/* it outlives the transaction */
	agent = create_agent(owner, ended, place, segment);
	if (agent->handle == NULL)
	{
		agent_free(agent);
		return NULL;
	}
	shm_mq_set_handle(agent->out, agent->handle);
	shm_mq_set_handle(agent->in, agent->handle);
	return agent;
}

/* Detach from the shared memory.  An agent that waits for a message then ends. */
static void
detach_agent(Agent *agent)
{
	if (agent->segment == NULL)
		return;
	shm_mq_detach(agent->out);	/* also frees the handle's memory */
	shm_mq_detach(agent->in);
	dsm_detach(agent->segment);
	agent->segment = NULL;
}

void
agent_end(Agent *agent, AgentEnd end, const char *problem)
{
	ListCell   *lc;

	if (agent->segment == NULL)
		return;
	if (agent->requests != NIL)
		TerminateBackgroundWorker(agent->handle);
	detach_agent(agent);
	foreach(lc, agent->requests)
	{
		agent_request_end(agent->ended, lfirst(lc),
						  lc == list_head(agent->requests) ? end : AGENT_NOT_BEGUN, problem);
	}
	list_free(agent->requests);
	agent->requests = NIL;
}

void
agent_note_death(Agent *agent, const char *problem)
{
	if (agent->requests != NIL)
		agent_owner_note_death(agent->owner);
	agent_end(agent, AGENT_DIED, problem);
}

bool
agent_has_stopped(const Agent *agent)
{
	pid_t		pid;

	return GetBackgroundWorkerPid(agent->handle, &pid) == BGWH_STOPPED;
}

void
agent_free(Agent *agent)
{
	detach_agent(agent);
	if (agent->handle)
		pfree(agent->handle);
	pfree(agent->message.data);
	pfree(agent);
}
