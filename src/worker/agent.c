/*-------------------------------------------------------------------------
 *
 * agent.c
 *		Processes in which the code of tables' owners runs: the worker's side.
 *
 * What an agent itself does stands in agent_process.c.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <math.h>

#include "agent/agent_process.h"
#include "agent/message.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/process.h"
#include "base/settings.h"
#include "miscadmin.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/shm_mq.h"
#include "utils/memutils.h"
#include "worker/agent.h"
#include "worker/rendering.h"
#include "worker/worker.h"

/* An agent that has had nothing to do for so many seconds ends. */
#define IDLE_TIME		10.0

/* How long an owner rests whose functions were slow or ended the agent: doubled each time. */
#define MIN_REST		1.0
#define MAX_REST		300.0

/* How long, in seconds, one rests at the most whose many rows took long, each of them within its time. */
#define MAX_PAUSE		5.0

/*
 * Agents that owners which had to rest, or whose last request took so many seconds, may
 * have at once; the others are for those that do nothing wrong.
 */
#define MAX_SLOW_AGENTS	(MAX_AGENTS / 2)
#define SLOW_TIME		0.5

/* Without a free background worker slot it is tried again after so many seconds. */
#define NO_SLOT_DELAY	1.0

/* Seconds, beyond what an agent allows itself, after which the worker ends it. */
#define OVERTIME		5.0

/* What is remembered of an owner, with or without an agent. */
typedef struct AgentOwner
{
	Oid			owner;
	double		rest;			/* seconds that it had to rest the last time;
								 * 0: it does well */
	double		rests_until;
	bool		slow;			/* so was the last request */
	int			batch;			/* jobs of a request at the most */
} AgentOwner;

typedef struct Agent
{
	AgentOwner *owner;
	BackgroundWorkerHandle *handle;
	dsm_segment *segment;		/* NULL: it has been told to end */
	shm_mq_handle *out;
	shm_mq_handle *in;
	List	   *requests;		/* the first one is under way */
	StringInfoData message;		/* of the first one, while it is being sent */
	bool		sending;
	double		started_at;		/* when the first one was */
	double		idle_since;

	/* the row that is being received */
	Job		   *job;
	int			received;		/* bytes of its content and features */
	bool		receiving;		/* a message; still true in the next turn: an
								 * error came in between */
} Agent;

struct Agents
{
	MemoryContext context;
	List	   *owners;			/* of AgentOwner */
	Agent	   *agents[MAX_AGENTS];
	List	   *ended;			/* requests */
	int			pending;
	bool		changed;		/* since the last agents_turn() */
	double		chance_at;		/* an owner that was refused may be served
								 * then; 0: nobody knows */
	double		no_slot_until;
	bool		no_slot_reported;
};

/*
 * Owners
 */

static AgentOwner *
find_owner(Agents *agents, Oid oid)
{
	MemoryContext old;
	AgentOwner *owner;
	ListCell   *lc;

	foreach(lc, agents->owners)
	{
		owner = lfirst(lc);
		if (owner->owner == oid)
			return owner;
	}
	old = MemoryContextSwitchTo(agents->context);
	owner = palloc0(sizeof(AgentOwner));
	owner->owner = oid;
	owner->batch = INT_MAX;
	agents->owners = lappend(agents->owners, owner);
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

static bool
is_slow(const AgentOwner *owner)
{
	return owner->rest > 0 || owner->slow;
}

static void
let_rest(AgentOwner *owner)
{
	owner->rest = owner->rest == 0 ? MIN_REST : Min(owner->rest * 2, MAX_REST);
	owner->rests_until = clock_seconds() + owner->rest;
}

/* A request has ended by itself; after a long one others come first, if they wait. */
static void
note_end(AgentOwner *owner, double seconds, bool timed_out)
{
	if (owner->batch < INT_MAX)
		owner->batch = owner->batch < 256 ? owner->batch * 2 : INT_MAX;
	owner->slow = seconds >= SLOW_TIME;
	if (timed_out)
	{
		let_rest(owner);
		return;
	}
	owner->rest = 0;
	if (seconds * 1000 >= mixpeek_read_timeout)
		owner->rests_until = clock_seconds() + Min(seconds / 2, MAX_PAUSE);
}

double
agents_rest(Agents *agents, Oid owner)
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
agents_batch(Agents *agents, Oid owner)
{
	return find_owner(agents, owner)->batch;
}

/*
 * Requests
 */

AgentRequest *
agents_request(Agents *agents, AgentTask task, Mirror *mirror, const char *collection)
{
	MemoryContext context = AllocSetContextCreate(agents->context, "mixpeek agent request",
												  ALLOCSET_SMALL_SIZES);
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
agents_add_job(AgentRequest *request, Job *job)
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
agents_free_request(AgentRequest *request)
{
	request->mirror->njobs--;
	MemoryContextDelete(request->context);
}

static void
end_request(Agents *agents, AgentRequest *request, AgentEnd end, const char *problem)
{
	MemoryContext old = MemoryContextSwitchTo(agents->context);

	request->end = end;
	request->problem = problem ? MemoryContextStrdup(request->context, problem) : NULL;
	agents->ended = lappend(agents->ended, request);
	agents->changed = true;
	MemoryContextSwitchTo(old);
}

AgentRequest *
agents_next_ended(Agents *agents)
{
	AgentRequest *request;

	if (agents->ended == NIL)
		return NULL;
	request = linitial(agents->ended);
	agents->ended = list_delete_first(agents->ended);
	agents->pending--;
	return request;
}

int
agents_pending(const Agents *agents)
{
	return agents->pending;
}

/*
 * Starting and ending
 */

/* NULL if there is no room for another process. */
static BackgroundWorkerHandle *
start_process(dsm_segment *segment)
{
	char		name[BGW_MAXLEN];

	snprintf(name, sizeof(name), "mixpeek_docs agent for database %u", MyDatabaseId);
	return process_start(name, "mixpeek_docs agent", "mixpeek_agent_main",
						 UInt32GetDatum(dsm_segment_handle(segment)));
}

static void
report_no_slot(Agents *agents)
{
	agents->no_slot_until = clock_seconds() + NO_SLOT_DELAY;
	if (agents->no_slot_reported)
		return;
	agents->no_slot_reported = true;
	ereport(LOG,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("mixpeek_docs: no process for the code of a table's owner, whose keys wait"),
			 errhint("Increase max_worker_processes.")));
}

/* In memory of its own, for which the context is the current one. */
static Agent *
create_agent(AgentOwner *owner, int place, dsm_segment *segment)
{
	Agent	   *agent = palloc0(sizeof(Agent));
	AgentShared *shared = dsm_segment_address(segment);

	shared->database = MyDatabaseId;
	shared->owner = owner->owner;
	shared->crash_slot = CRASH_WORKER + 1 + place;
	agent->owner = owner;
	agent->segment = segment;
	agent->out = agent_process_queue(segment, AGENT_TO_PROCESS, true);
	agent->in = agent_process_queue(segment, AGENT_FROM_PROCESS, true);
	agent->handle = start_process(segment);
	initStringInfo(&agent->message);
	return agent;
}

/* An agent that waits for the queues ends. */
static void
detach_agent(Agent *agent)
{
	if (agent->segment == NULL)
		return;
	shm_mq_detach(agent->out);	/* which frees what the handles have, too */
	shm_mq_detach(agent->in);
	dsm_detach(agent->segment);
	agent->segment = NULL;
}

static void
free_agent(Agent *agent)
{
	detach_agent(agent);
	if (agent->handle)
		pfree(agent->handle);
	pfree(agent->message.data);
	pfree(agent);
}

/* NULL if there is no memory for one: that is a matter of those who need an agent. */
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

/* NULL if there are no means for another one just now. */
static Agent *
start_agent(Agents *agents, AgentOwner *owner, int place)
{
	MemoryContext old = MemoryContextSwitchTo(agents->context);
	dsm_segment *segment = create_segment();
	Agent	   *agent = NULL;

	if (segment)
	{
		dsm_pin_mapping(segment);	/* it outlives the transaction */
		agent = create_agent(owner, place, segment);
		if (agent->handle == NULL)
		{
			free_agent(agent);
			agent = NULL;
		}
	}
	if (agent)
	{
		agents->no_slot_reported = false;
		shm_mq_set_handle(agent->out, agent->handle);
		shm_mq_set_handle(agent->in, agent->handle);
	}
	else
		report_no_slot(agents);
	MemoryContextSwitchTo(old);
	return agent;
}

/* Its requests end as well: the one under way in this way, the others were not begun. */
static void
end_agent(Agents *agents, Agent *agent, AgentEnd end, const char *problem)
{
	ListCell   *lc;

	if (agent->segment == NULL)
		return;
	if (agent->requests != NIL)
		TerminateBackgroundWorker(agent->handle);
	detach_agent(agent);
	foreach(lc, agent->requests)
	{
		end_request(agents, lfirst(lc), lc == list_head(agent->requests) ? end : AGENT_NOT_BEGUN,
					problem);
	}
	list_free(agent->requests);
	agent->requests = NIL;
}

/* It ended without having been told to: nobody knows which row did it, if there were several. */
static void
note_death(Agents *agents, Agent *agent, const char *problem)
{
	if (agent->requests != NIL)
	{
		agent->owner->batch = 1;
		let_rest(agent->owner);
	}
	end_agent(agents, agent, AGENT_DIED, problem);
}

/* Frees what is left of agents whose process is no more. */
static void
reap(Agents *agents)
{
	for (int i = 0; i < MAX_AGENTS; i++)
	{
		Agent	   *agent = agents->agents[i];
		pid_t		pid;

		if (agent == NULL || GetBackgroundWorkerPid(agent->handle, &pid) != BGWH_STOPPED)
			continue;
		note_death(agents, agent, "the process that ran the owner's functions ended");
		free_agent(agent);
		agents->agents[i] = NULL;
		agents->changed = true;
	}
}

static void
end_all(int code, Datum arg)
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
	before_shmem_exit(end_all, PointerGetDatum(agents));
	return agents;
}

/*
 * Who is served
 */

/* Agents that are there, or (slow) those of them whose owners are slow. */
static int
count_agents(const Agents *agents, bool slow)
{
	int			n = 0;

	for (int i = 0; i < MAX_AGENTS; i++)
	{
		if (agents->agents[i] && (!slow || is_slow(agents->agents[i]->owner)))
			n++;
	}
	return n;
}

/* That has been idle for longest, or (slow) of those that are slow; NULL: none, or one ends anyway. */
static Agent *
most_idle_agent(const Agents *agents, bool slow)
{
	Agent	   *most_idle = NULL;

	for (int i = 0; i < MAX_AGENTS; i++)
	{
		Agent	   *agent = agents->agents[i];

		if (agent == NULL || (slow && !is_slow(agent->owner)))
			continue;
		if (agent->segment == NULL)
			return NULL;
		if (agent->requests == NIL && (most_idle == NULL || agent->idle_since < most_idle->idle_since))
			most_idle = agent;
	}
	return most_idle;
}

/* Whoever was refused is served again at this time, if not before. */
static void
note_chance(Agents *agents, double at)
{
	if (agents->chance_at == 0 || at < agents->chance_at)
		agents->chance_at = at;
}

/* Is there a place for another agent?  If not, there may be one that gives up its place (*idle). */
static bool
find_place(const Agents *agents, bool slow, Agent **idle)
{
	if (count_agents(agents, slow) < (slow ? MAX_SLOW_AGENTS : MAX_AGENTS))
		return !slow || find_place(agents, false, idle);
	*idle = most_idle_agent(agents, slow);
	return false;
}

/* Could the owner be served now, or (*idle) when that agent has ended? */
static bool
may_take(Agents *agents, Oid oid, Agent **idle)
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
		return find_place(agents, is_slow(owner), idle);
	if (agent->segment == NULL || agent->requests != NIL)
		return false;
	if (!is_slow(owner) || count_agents(agents, true) <= MAX_SLOW_AGENTS)
		return true;
	*idle = agent;				/* slow ones have become too many */
	return false;
}

bool
agents_take(Agents *agents, Oid owner)
{
	Agent	   *idle;

	if (may_take(agents, owner, &idle))
		return true;
	if (idle)
		end_agent(agents, idle, AGENT_NOT_BEGUN, NULL);
	return false;
}

bool
agents_could_take(Agents *agents, Oid owner)
{
	Agent	   *idle;

	return may_take(agents, owner, &idle) || idle;
}

static Agent *
find_or_start(Agents *agents, Oid owner)
{
	Agent	   *agent = find_agent(agents, owner);

	if (agent)
		return agent->segment ? agent : NULL;
	for (int i = 0; i < MAX_AGENTS; i++)
	{
		if (agents->agents[i] == NULL)
			return agents->agents[i] = start_agent(agents, find_owner(agents, owner), i);
	}
	return NULL;
}

void
agents_send(Agents *agents, AgentRequest *request)
{
	Agent	   *agent = find_or_start(agents, request->owner);
	MemoryContext old;

	request->results = MemoryContextAllocZero(request->context,
											  sizeof(AgentResult) * (request->njobs + 1));
	if (agent == NULL)
		end_request(agents, request, AGENT_NOT_BEGUN, NULL);
	else
	{
		old = MemoryContextSwitchTo(agents->context);
		agent->requests = lappend(agent->requests, request);
		MemoryContextSwitchTo(old);
	}
	agents->pending++;			/* after all that may raise */
}

/*
 * Sending
 */

static void
put_jobs(StringInfo message, const AgentRequest *request)
{
	message_put_int(message, request->njobs);
	for (int i = 0; i < request->njobs; i++)
	{
		const Job  *job = request->jobs[i];

		message_put_text(message, job->key);
		if (request->task == AGENT_READ)
			message_put_text(message, job->marker);
		else
		{
			message_put_text(message, job->document_id);
			message_put_bytes(message, job->enrichments, job->enrichments ? VARSIZE(job->enrichments) : 0);
		}
	}
}

static void
write_message(StringInfo message, const AgentRequest *request)
{
	static const char kinds[] = {
		[AGENT_READ] = MESSAGE_READ,
		[AGENT_SCAN] = MESSAGE_SCAN,
		[AGENT_WRITE_BACK] = MESSAGE_WRITE_BACK
	};

	message_begin(message, kinds[request->task]);
	message_put_int(message, request->relation);
	message_put_text(message, request->collection);
	if (request->task == AGENT_SCAN)
	{
		message_put_int(message, request->limit);
		message_put_text(message, request->expansion->key);
		return;
	}
	if (request->task == AGENT_READ)
	{
		RenderingRoom room = rendering_room(request->jobs[0]->account);

		message_put_text(message, request->mirror->marker_prefix);
		message_put_int(message, room.bytes);
		message_put_int(message, room.one);
	}
	put_jobs(message, request);
}

/* The first request begins to be sent when the one before it has ended. */
static void
send_request(Agents *agents, Agent *agent)
{
	shm_mq_result result;

	if (agent->started_at == 0)
	{
		write_message(&agent->message, linitial(agent->requests));
		agent->started_at = clock_seconds();
		agent->sending = true;
	}
	if (!agent->sending)
		return;
	result = COMPAT_SHM_MQ_SEND(agent->out, agent->message.len, agent->message.data, true);
	if (result == SHM_MQ_DETACHED)
		note_death(agents, agent, "the process that ran the owner's functions ended");
	else if (result == SHM_MQ_SUCCESS)
	{
		agent->sending = false;
		pfree(agent->message.data); /* it may have been large */
		initStringInfo(&agent->message);
	}
}

/*
 * Receiving
 */

static int
get_index(MessageReader *reader, const AgentRequest *request)
{
	int64		i = message_get_int(reader);

	if (i < 0 || i >= request->njobs)
		elog(ERROR, "an agent speaks of key %lld of %d", (long long) i, request->njobs);
	return (int) i;
}

static void
receive_bytes(Agent *agent, MessageReader *reader)
{
	Job		   *job = agent->job;
	int			len;
	const char *bytes = message_get_bytes(reader, &len);

	while (job && len > 0)
	{
		bool		content = agent->received < job->content_len;
		int			room = job->content_len + (content ? 0 : job->features_len) - agent->received;
		int			n = Min(len, room);

		if (n <= 0)
			elog(ERROR, "an agent sends more of a row than it said");
		memcpy(content ? job->content + agent->received :
			   job->features + agent->received - job->content_len, bytes, n);
		agent->received += n;
		bytes += n;
		len -= n;
	}
}

static void
receive_key_end(Agent *agent, AgentRequest *request, MessageReader *reader)
{
	int			i = get_index(reader, request);
	AgentResult *result = &request->results[i];
	int			end = (int) message_get_int(reader);
	const char *problem = message_get_text(reader);

	if (request->task == AGENT_READ)
		result->row = end;
	else
		result->write = end;
	if (problem)
		result->problem = MemoryContextStrdup(request->context, problem);
	if (request->task == AGENT_READ && end == ROW_FOUND)
		rendering_end(request->jobs[i]);
}

static void
receive_row(Agent *agent, AgentRequest *request, MessageReader *reader)
{
	int			i = get_index(reader, request);
	int			content_len = (int) message_get_int(reader);
	int			features_len = (int) message_get_int(reader);

	agent->job = request->jobs[i];
	agent->received = 0;
	rendering_begin(agent->job, content_len, features_len);
}

static void
receive_end(Agents *agents, Agent *agent, AgentRequest *request, MessageReader *reader)
{
	AgentEnd	end = (AgentEnd) message_get_int(reader);
	bool		timed_out = message_get_int(reader) > 0;
	bool		too_many = message_get_int(reader) != 0;
	double		now = clock_seconds();

	note_end(agent->owner, now - agent->started_at, timed_out);
	if (too_many)
		agent->owner->batch = Max(1, request->njobs / 4);
	end_request(agents, request, end, message_get_text(reader));
	agent->requests = list_delete_first(agent->requests);
	agent->started_at = 0;
	agent->idle_since = now;
}

static void
receive_message(Agents *agents, Agent *agent, const void *data, Size len)
{
	MessageReader reader;
	AgentRequest *request = linitial(agent->requests);
	MemoryContext old = MemoryContextSwitchTo(request->context);

	switch (message_open(&reader, data, len))
	{
		case MESSAGE_ROW:
			receive_row(agent, request, &reader);
			break;
		case MESSAGE_BYTES:
			receive_bytes(agent, &reader);
			break;
		case MESSAGE_KEY_END:
			receive_key_end(agent, request, &reader);
			break;
		case MESSAGE_KEY:
			request->keys = lappend(request->keys, pstrdup(message_get_text(&reader)));
			break;
		case MESSAGE_END:
			receive_end(agents, agent, request, &reader);
			break;
		default:
			elog(ERROR, "an agent sends what the worker does not know");
	}
	MemoryContextSwitchTo(old);
}

/* Takes what is there. */
static void
receive(Agents *agents, Agent *agent)
{
	while (agent->segment && agent->requests != NIL)
	{
		void	   *data;
		Size		len;
		shm_mq_result result = shm_mq_receive(agent->in, &len, &data, true);

		if (result == SHM_MQ_WOULD_BLOCK)
			break;
		if (result == SHM_MQ_DETACHED)
			note_death(agents, agent, "the process that ran the owner's functions ended");
		else
		{
			agent->receiving = true;
			receive_message(agents, agent, data, len);
			agent->receiving = false;
		}
	}
}

/*
 * The worker's turn
 */

/* When the worker ends a request's agent, if that has not ended itself. */
static double
deadline(const Agent *agent)
{
	return agent->started_at + mixpeek_read_timeout * AGENT_MAX_TIMEOUTS / 1000.0 + OVERTIME;
}

static void
turn_agent(Agents *agents, Agent *agent)
{
	double		now = clock_seconds();

	if (agent->receiving)
		note_death(agents, agent, "the worker could not take in what the owner's functions gave");
	if (agent->segment && agent->requests == NIL && now - agent->idle_since >= IDLE_TIME)
		end_agent(agents, agent, AGENT_NOT_BEGUN, NULL);
	receive(agents, agent);
	if (agent->segment && agent->requests != NIL)
		send_request(agents, agent);
	if (agent->segment && agent->started_at > 0 && now > deadline(agent))
		note_death(agents, agent, "the owner's functions took too long, and could not be cancelled");
}

bool
agents_turn(Agents *agents)
{
	MemoryContext old = MemoryContextSwitchTo(agents->context);
	bool		changed;

	for (int i = 0; i < MAX_AGENTS; i++)
	{
		if (agents->agents[i])
			turn_agent(agents, agents->agents[i]);
	}
	reap(agents);
	changed = agents->changed;
	agents->changed = false;
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

	if (agents->changed)
		return 0;
	for (int i = 0; i < MAX_AGENTS; i++)
	{
		Agent	   *agent = agents->agents[i];
		double		due;

		if (agent == NULL || agent->segment == NULL)
			continue;
		due = agent->requests == NIL ? agent->idle_since + IDLE_TIME :
			agent->started_at > 0 ? deadline(agent) : now;
		if (at == 0 || due < at)
			at = due;
	}
	return at == 0 ? -1 : Max(0, at - now);
}
