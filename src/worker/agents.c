/*-------------------------------------------------------------------------
 *
 * agents.c
 *		The processes in which the code of tables' owners runs: which owners are
 *		served, and the agents' part of the worker's turn.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "agent/serve.h"
#include "base/clock.h"
#include "base/settings.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "worker/agents.h"
#include "worker/exchange.h"

/* Seconds after which an idle agent ends. */
#define IDLE_TIME		10.0

/* Most agents of slow owners; the other ones are kept for owners that are not slow. */
#define MAX_SLOW_AGENTS	(MAX_AGENTS / 2)

/* Seconds until another start is tried after there was no background worker slot. */
#define NO_SLOT_DELAY	1.0

/* Seconds that an agent may exceed its own limit of time before the worker ends it. */
#define OVERTIME		5.0

struct Agents
{
	MemoryContext context;
	List	   *owners;			/* of AgentOwner */
	Agent	   *agents[MAX_AGENTS];
	EndedRequests ended;
	int			pending;		/* requests not yet returned */
	bool		changed;		/* an agent has stopped since the last
								 * agents_turn() */
	double		chance_at;		/* when an owner that was refused may be
								 * served; 0: that is not known */
	double		no_slot_until;
	bool		no_slot_reported;
};

static void
terminate_agents(int code, Datum arg)
{
	Agents	   *agents = (Agents *) DatumGetPointer(arg);

	for (int i = 0; i < MAX_AGENTS; i++)
	{
		if (agents->agents[i])
			TerminateBackgroundWorker(agents->agents[i]->handle);
	}
}

Agents *
agents_create(MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "mixpeek agents", ALLOCSET_DEFAULT_SIZES);
	Agents	   *agents = MemoryContextAllocZero(context, sizeof(Agents));

	agents->context = context;
	agents->ended.context = context;
	before_shmem_exit(terminate_agents, PointerGetDatum(agents));
	return agents;
}

static AgentOwner *
find_owner(Agents *agents, Oid oid)
{
	MemoryContext old = MemoryContextSwitchTo(agents->context);
	AgentOwner *owner = agent_owner_find(&agents->owners, oid);

	MemoryContextSwitchTo(old);
	return owner;
}

static Agent *
find_agent(Agents *agents, Oid owner)
{
	for (int i = 0; i < MAX_AGENTS; i++)
	{
		if (agents->agents[i] && agents->agents[i]->owner->owner == owner)
			return agents->agents[i];
	}
	return NULL;
}

double
agents_rest_left(Agents *agents, Oid owner)
{
	double		left = find_owner(agents, owner)->rests_until - clock_seconds();

	return Max(0, left);
}

bool
agents_have_no_slot(const Agents *agents)
{
	return agents->no_slot_until > clock_seconds();
}

int
agents_max_jobs(Agents *agents, Oid owner)
{
	return find_owner(agents, owner)->max_jobs;
}

AgentRequest *
agents_next_ended(Agents *agents)
{
	AgentRequest *request;

	if (agents->ended.list == NIL)
		return NULL;
	request = linitial(agents->ended.list);
	agents->ended.list = list_delete_first(agents->ended.list);
	agents->pending--;
	return request;
}

int
agents_pending(const Agents *agents)
{
	return agents->pending;
}

/*
 * Which owners are served
 */

/* Return the number of agents, or of those whose owners are slow. */
static int
count_agents(const Agents *agents, bool only_slow)
{
	int			n = 0;

	for (int i = 0; i < MAX_AGENTS; i++)
	{
		if (agents->agents[i] && (!only_slow || agent_owner_is_slow(agents->agents[i]->owner)))
			n++;
	}
	return n;
}

/*
 * Return the agent that has been idle for longest, or that of a slow owner.  Return
 * NULL if none is idle, or one is ending already.
 */
static Agent *
most_idle_agent(const Agents *agents, bool only_slow)
{
	Agent	   *most_idle = NULL;

	for (int i = 0; i < MAX_AGENTS; i++)
	{
		Agent	   *agent = agents->agents[i];

		if (agent == NULL || (only_slow && !agent_owner_is_slow(agent->owner)))
			continue;
		if (agent->segment == NULL)
			return NULL;
		if (agent->requests == NIL && (most_idle == NULL || agent->idle_since < most_idle->idle_since))
			most_idle = agent;
	}
	return most_idle;
}

/* Have agents_turn() return true at this time: an owner that was refused may be served then. */
static void
note_chance(Agents *agents, double at)
{
	if (agents->chance_at == 0 || at < agents->chance_at)
		agents->chance_at = at;
}

/*
 * Check whether there is a place for another agent, of a slow owner or not.  If not, *idle is set to
 * an agent whose end would give one, or to NULL.
 */
static bool
find_place(const Agents *agents, bool slow, Agent **idle)
{
	if (count_agents(agents, slow) < (slow ? MAX_SLOW_AGENTS : MAX_AGENTS))
		return !slow || find_place(agents, false, idle);
	*idle = most_idle_agent(agents, slow);
	return false;
}

/* Check whether the owner can be served now.  If not, *idle is set to an agent that has to end before, or to NULL. */
static bool
can_serve(Agents *agents, Oid oid, Agent **idle)
{
	AgentOwner *owner = find_owner(agents, oid);
	Agent	   *agent = find_agent(agents, oid);
	double		until = Max(owner->rests_until, agents->no_slot_until);

	*idle = NULL;
	if (until > clock_seconds())
	{
		note_chance(agents, until);
		return false;
	}
	if (agent == NULL)
		return find_place(agents, agent_owner_is_slow(owner), idle);
	if (agent->segment == NULL || agent->requests != NIL)
		return false;
	if (!agent_owner_is_slow(owner) || count_agents(agents, true) <= MAX_SLOW_AGENTS)
		return true;
	*idle = agent;				/* there are too many slow owners' agents */
	return false;
}

bool
agents_make_room(Agents *agents, Oid owner)
{
	Agent	   *idle;

	if (can_serve(agents, owner, &idle))
		return true;
	if (idle)
		agent_end(idle, AGENT_NOT_BEGUN, NULL);
	return false;
}

bool
agents_may_serve(Agents *agents, Oid owner)
{
	Agent	   *idle;

	return can_serve(agents, owner, &idle) || idle;
}

/*
 * Sending
 */

static void
report_no_slot(Agents *agents)
{
	agents->no_slot_until = clock_seconds() + NO_SLOT_DELAY;
	if (agents->no_slot_reported)
		return;
	agents->no_slot_reported = true;
	ereport(LOG,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("mixpeek_docs: could not start a process for the functions of a table's owner"),
			 errdetail("The owner's tables wait until one can be started."),
			 errhint("Increase max_worker_processes.")));
}

static Agent *
start_agent(Agents *agents, Oid owner, int place)
{
	MemoryContext old = MemoryContextSwitchTo(agents->context);
	Agent	   *agent = agent_start(find_owner(agents, owner), &agents->ended, place);

	MemoryContextSwitchTo(old);
	if (agent)
		agents->no_slot_reported = false;
	else
		report_no_slot(agents);
	return agent;
}

/* Return the owner's agent, which is started if necessary; NULL if it cannot take requests. */
static Agent *
find_or_start_agent(Agents *agents, Oid owner)
{
	Agent	   *agent = find_agent(agents, owner);

	if (agent)
		return agent->segment ? agent : NULL;
	for (int i = 0; i < MAX_AGENTS; i++)
	{
		if (agents->agents[i] == NULL)
			return agents->agents[i] = start_agent(agents, owner, i);
	}
	return NULL;
}

void
agents_send(Agents *agents, AgentRequest *request)
{
	Agent	   *agent = find_or_start_agent(agents, request->owner);
	MemoryContext old;

	agent_request_prepare_results(request);
	if (agent == NULL)
		agent_request_end(&agents->ended, request, AGENT_NOT_BEGUN, NULL);
	else
	{
		old = MemoryContextSwitchTo(agents->context);
		agent->requests = lappend(agent->requests, request);
		MemoryContextSwitchTo(old);
	}
	agents->pending++;			/* after everything that may raise an error */
}

/*
 * The worker's turn
 */

/* Return when the worker ends the agent if its request has not ended. */
static double
request_deadline(const Agent *agent)
{
	return agent->started_at + mixpeek_read_timeout * AGENT_MAX_TIMEOUTS / 1000.0 + OVERTIME;
}

/* Free agents whose process has ended. */
static void
free_stopped_agents(Agents *agents)
{
	for (int i = 0; i < MAX_AGENTS; i++)
	{
		Agent	   *agent = agents->agents[i];

		if (agent == NULL || !agent_has_stopped(agent))
			continue;
		agent_note_death(agent, AGENT_PROCESS_ENDED);
		agent_free(agent);
		agents->agents[i] = NULL;
		agents->changed = true;
	}
}

static void
turn_agent(Agent *agent)
{
	double		now = clock_seconds();

	if (agent->receiving)
		agent_note_death(agent, "the worker could not read the results of the owner's functions");
	if (agent->segment && agent->requests == NIL && now - agent->idle_since >= IDLE_TIME)
		agent_end(agent, AGENT_NOT_BEGUN, NULL);
	exchange_receive(agent);
	if (agent->segment && agent->requests != NIL)
		exchange_send(agent);
	if (agent->segment && agent->started_at > 0 && now > request_deadline(agent))
		agent_note_death(agent, "the owner's functions took too long and could not be cancelled");
}

bool
agents_turn(Agents *agents)
{
	MemoryContext old = MemoryContextSwitchTo(agents->context);
	bool		changed;

	for (int i = 0; i < MAX_AGENTS; i++)
	{
		if (agents->agents[i])
			turn_agent(agents->agents[i]);
	}
	free_stopped_agents(agents);
	changed = agents->changed || agents->ended.grown;
	agents->changed = agents->ended.grown = false;
	if (agents->chance_at > 0 && agents->chance_at <= clock_seconds())
	{
		agents->chance_at = 0;
		changed = true;
	}
	MemoryContextSwitchTo(old);
	return changed;
}

double
agents_wait(Agents *agents)
{
	double		at = agents->chance_at;
	double		now = clock_seconds();

	if (agents->changed || agents->ended.grown)
		return 0;
	for (int i = 0; i < MAX_AGENTS; i++)
	{
		Agent	   *agent = agents->agents[i];
		double		due;

		if (agent == NULL || agent->segment == NULL)
			continue;
		due = agent->requests == NIL ? agent->idle_since + IDLE_TIME :
			agent->started_at > 0 ? request_deadline(agent) : now;
		if (at == 0 || due < at)
			at = due;
	}
	return at == 0 ? -1 : Max(0, at - now);
}
