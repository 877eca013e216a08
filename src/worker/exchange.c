/*-------------------------------------------------------------------------
 *
 * exchange.c
 *		Messages between the worker and an agent, the worker's side.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "agent/message.h"
#include "base/clock.h"
#include "state/documents.h"
#include "utils/memutils.h"
#include "worker/exchange.h"
#include "worker/rendering.h"

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
			message_put_int(message, document_drops_enrichments(job));
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

void
exchange_send(Agent *agent)
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
		agent_note_death(agent, AGENT_PROCESS_ENDED);
	else if (result == SHM_MQ_SUCCESS)
	{
		agent->sending = false;
		pfree(agent->message.data); /* may be large */
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
		elog(ERROR, "an agent sent a result for key %lld of %d", (long long) i, request->njobs);
	return (int) i;
}

/* Append bytes to the job's content and, when that is complete, to its features. */
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
			elog(ERROR, "an agent sent more bytes of a row than announced");
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
receive_row_start(Agent *agent, AgentRequest *request, MessageReader *reader)
{
	int			i = get_index(reader, request);
	int			content_len = (int) message_get_int(reader);
	int			features_len = (int) message_get_int(reader);

	agent->job = request->jobs[i];
	agent->received = 0;
	rendering_begin(agent->job, content_len, features_len);
}

static void
receive_end(Agent *agent, AgentRequest *request, MessageReader *reader)
{
	AgentEnd	end = (AgentEnd) message_get_int(reader);
	bool		timed_out = message_get_int(reader) > 0;
	bool		too_many = message_get_int(reader) != 0;
	double		now = clock_seconds();

	agent_owner_note_end(agent->owner, now - agent->started_at, timed_out, too_many, request->njobs);
	agent_request_end(agent->ended, request, end, message_get_text(reader));
	agent->requests = list_delete_first(agent->requests);
	agent->started_at = 0;
	agent->idle_since = now;
}

static void
receive_message(Agent *agent, const void *data, Size len)
{
	MessageReader reader;
	AgentRequest *request = linitial(agent->requests);
	MemoryContext old = MemoryContextSwitchTo(request->context);

	switch (message_open(&reader, data, len))
	{
		case MESSAGE_ROW:
			receive_row_start(agent, request, &reader);
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
			receive_end(agent, request, &reader);
			break;
		default:
			elog(ERROR, "an agent sent a message of unknown kind");
	}
	MemoryContextSwitchTo(old);
}

void
exchange_receive(Agent *agent)
{
	while (agent->segment && agent->requests != NIL)
	{
		void	   *data;
		Size		len;
		shm_mq_result result = shm_mq_receive(agent->in, &len, &data, true);

		if (result == SHM_MQ_WOULD_BLOCK)
			break;
		if (result == SHM_MQ_DETACHED)
			agent_note_death(agent, AGENT_PROCESS_ENDED);
		else
		{
			agent->receiving = true;
			receive_message(agent, data, len);
			agent->receiving = false;
		}
	}
}
