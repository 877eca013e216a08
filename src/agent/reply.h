/*-------------------------------------------------------------------------
 *
 * reply.h
 *		Messages that an agent sends to the worker; their forms are in message.h.
 *
 * If the worker is gone, each of these functions ends the process.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_REPLY_H
#define MIXPEEK_REPLY_H

#include "agent/message.h"
#include "agent/reading.h"
#include "storage/shm_mq.h"

/* Set the queue that leads to the worker. */
extern void reply_init(shm_mq_handle *to_worker);

/* Send the document of the request's i-th key, and its end. */
extern void reply_row(int i, const RenderedRow *row);

/* Send a key that was listed. */
extern void reply_key(const char *key);

/* Send the result of the request's i-th key: a RowEnd or WriteEnd, and a problem or NULL. */
extern void reply_key_end(int i, int end, const char *problem);

/*
 * Send the end of the request.  row_timeouts: how many rows, read or written alone,
 * took longer than mixpeek.read_timeout; together_too_long: all rows read at once
 * did; problem: NULL if there is none.
 */
extern void reply_end(AgentEnd end, int row_timeouts, bool together_too_long, const char *problem);

#endif							/* MIXPEEK_REPLY_H */
