/*-------------------------------------------------------------------------
 *
 * exchange.h
 *		Messages between the worker and an agent, the worker's side.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_EXCHANGE_H
#define MIXPEEK_EXCHANGE_H

#include "worker/agent.h"

/*
 * Send as much of the agent's first request as the queue takes without waiting.  The
 * agent must have a request.
 */
extern void exchange_send(Agent *agent);

/*
 * Take in all messages that have arrived.  A request ends with its END message.
 * Raises an error if a message does not fit the request, or if memory is short;
 * agent->receiving remains set then, and the agent must be ended.
 */
extern void exchange_receive(Agent *agent);

#endif							/* MIXPEEK_EXCHANGE_H */
