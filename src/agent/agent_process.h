/*-------------------------------------------------------------------------
 *
 * agent_process.h
 *		The process in which the code of a table's owner runs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_AGENT_PROCESS_H
#define MIXPEEK_AGENT_PROCESS_H

/*
 * Background worker entry point of an agent.  The argument is the handle of the
 * segment that it shares with the worker (channel.h).  Ends when the worker has
 * detached from it, at SIGTERM, or with an error.
 */
extern PGDLLEXPORT void mixpeek_agent_main(Datum main_arg);

#endif							/* MIXPEEK_AGENT_PROCESS_H */
