/*-------------------------------------------------------------------------
 *
 * channel.h
 *		The memory that the worker shares with one agent: two message queues.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_CHANNEL_H
#define MIXPEEK_CHANNEL_H

#include "storage/dsm.h"
#include "storage/shm_mq.h"

/* The beginning of the segment; the two queues follow. */
typedef struct AgentShared
{
	Oid			database;
	Oid			owner;
	int			crash_slot;		/* see crash.h */
} AgentShared;

#define AGENT_QUEUE_SIZE	(64 * 1024)
#define AGENT_SHARED_SIZE	(MAXALIGN(sizeof(AgentShared)) + 2 * AGENT_QUEUE_SIZE)

typedef enum AgentQueue
{
	AGENT_TO_PROCESS,
	AGENT_FROM_PROCESS
} AgentQueue;

/*
 * Attach this process to a queue of the segment, as its sender or receiver.
 * is_worker: this is the worker's side, which also initializes the queue.
 */
extern shm_mq_handle *channel_attach(dsm_segment *segment, AgentQueue which, bool is_worker);

#endif							/* MIXPEEK_CHANNEL_H */
