/*-------------------------------------------------------------------------
 *
 * reply.c
 *		Messages that an agent sends to the worker.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "agent/reply.h"
#include "base/guard.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

static shm_mq_handle *to_worker;
static StringInfoData message;

void
reply_init(shm_mq_handle *queue)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	to_worker = queue;
	initStringInfo(&message);
	MemoryContextSwitchTo(old);
}

/*
 * Send the message.  A send must not be interrupted: if part of a message was sent,
 * the worker would take the next one for the rest of it.  Time spent waiting for the
 * worker does not count against the owner.
 */
static void
send_message(void)
{
	shm_mq_result result = COMPAT_SHM_MQ_SEND(to_worker, message.len, message.data, true);

	if (result == SHM_MQ_WOULD_BLOCK)
	{
		guard_pause();
		result = COMPAT_SHM_MQ_SEND(to_worker, message.len, message.data, false);
		guard_resume();
	}
	if (result != SHM_MQ_SUCCESS)
		proc_exit(0);			/* the worker is gone */
}

static void
send_text(const char *text, int len)
{
	for (int sent = 0; sent < len; sent += MESSAGE_CHUNK)
	{
		message_begin(&message, MESSAGE_BYTES);
		message_put_bytes(&message, text + sent, Min(len - sent, MESSAGE_CHUNK));
		send_message();
	}
}

void
reply_row(int i, const RenderedRow *row)
{
	message_begin(&message, MESSAGE_ROW);
	message_put_int(&message, i);
	message_put_int(&message, row->content_len);
	message_put_int(&message, row->features ? row->features_len : -1);
	send_message();
	send_text(row->content, row->content_len);
	if (row->features)
		send_text(row->features, row->features_len);
	reply_key_end(i, ROW_FOUND, NULL);
}

void
reply_key(const char *key)
{
	message_begin(&message, MESSAGE_KEY);
	message_put_text(&message, key);
	send_message();
}

void
reply_key_end(int i, int end, const char *problem)
{
	message_begin(&message, MESSAGE_KEY_END);
	message_put_int(&message, i);
	message_put_int(&message, end);
	message_put_text(&message, problem);
	send_message();
}

void
reply_end(AgentEnd end, int row_timeouts, bool together_too_long, const char *problem)
{
	message_begin(&message, MESSAGE_END);
	message_put_int(&message, end);
	message_put_int(&message, row_timeouts);
	message_put_int(&message, together_too_long);
	message_put_text(&message, problem);
	send_message();
}
