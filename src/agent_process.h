/*-------------------------------------------------------------------------
 *
 * agent_process.h
 *		What the worker and an agent share: memory and limits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_AGENT_PROCESS_H
#define MIXPEEK_AGENT_PROCESS_H

#include "storage/dsm.h"
#include "storage/shm_mq.h"

/* At the segment's beginning; two queues follow. */
typedef struct AgentShared
{
	Oid			database;
	Oid			owner;
} AgentShared;

#define AGENT_QUEUE_SIZE	(64 * 1024)
#define AGENT_SHARED_SIZE	(MAXALIGN(sizeof(AgentShared)) + 2 * AGENT_QUEUE_SIZE)

typedef enum AgentQueue
{
	AGENT_TO_PROCESS,
	AGENT_FROM_PROCESS
} AgentQueue;

/*
 * Attaches to a queue as its reader or writer, on the side of the worker, which makes
 * it as well, or of the process.
 */
extern shm_mq_handle *agent_process_queue(dsm_segment *segment, AgentQueue which, bool worker);

/*
 * How many times mixpeek.read_timeout a request may take: rows are read together, then
 * one by one for three times as long and one row more, whose key is parsed.
 */
#define AGENT_MAX_TIMEOUTS	6

#endif							/* MIXPEEK_AGENT_PROCESS_H */
