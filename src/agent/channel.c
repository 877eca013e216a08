/*-------------------------------------------------------------------------
 *
 * channel.c
 *		The memory that the worker shares with one agent: two message queues.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "agent/channel.h"
#include "storage/proc.h"

shm_mq_handle *
channel_attach(dsm_segment *segment, AgentQueue which, bool is_worker)
{
	char	   *start = (char *) dsm_segment_address(segment) + MAXALIGN(sizeof(AgentShared));
	shm_mq	   *queue = (shm_mq *) (start + which * AGENT_QUEUE_SIZE);

	if (is_worker)
		queue = shm_mq_create(queue, AGENT_QUEUE_SIZE);
	if (is_worker == (which == AGENT_TO_PROCESS))
		shm_mq_set_sender(queue, MyProc);
	else
		shm_mq_set_receiver(queue, MyProc);
	return shm_mq_attach(queue, segment, NULL);
}
