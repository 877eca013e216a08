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
 * Attaches to a queue as its reader or writer, on the side of the worker, which makes
 * it as well, or of the process.
 */
extern shm_mq_handle *agent_process_queue(dsm_segment *segment, AgentQueue which, bool worker);

/*
 * How many times mixpeek.read_timeout a request may take: rows are read together, then
 * one by one for three times as long and one row more, whose key is parsed.
 */
#define AGENT_MAX_TIMEOUTS	6

typedef enum AgentTask
{
	AGENT_READ,					/* the rows of the jobs' keys */
	AGENT_SCAN,					/* the keys that follow one */
	AGENT_WRITE_BACK			/* the jobs' document ids and enrichments */
} AgentTask;

/* How a request ended. */
typedef enum AgentEnd
{
	AGENT_DONE,					/* each job has its result */
	AGENT_CHANGED,				/* the mirror is not what the worker takes it
								 * for: to be looked at again */
	AGENT_LOCKED,				/* somebody has locked the table */
	AGENT_FAILED,				/* as a whole; see problem */
	AGENT_DIED,					/* the agent ended while it was at it; see
								 * problem */
	AGENT_NOT_BEGUN				/* it ended before */
} AgentEnd;

/* What became of a write-back. */
typedef enum WriteEnd
{
	WRITE_UNKNOWN,
	WRITE_DONE,
	WRITE_MISSED,				/* somebody has locked the row */
	WRITE_FAILED				/* see the result's problem */
} WriteEnd;

/* Background worker entry point of an agent. */
extern PGDLLEXPORT void mixpeek_agent_main(Datum main_arg);

#endif							/* MIXPEEK_AGENT_PROCESS_H */
