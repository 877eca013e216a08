/*-------------------------------------------------------------------------
 *
 * serve.h
 *		What an agent does for a request of the worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_SERVE_H
#define MIXPEEK_SERVE_H

/*
 * Most times mixpeek.read_timeout that a request takes: once for all rows together,
 * three times for rows read one by one, and once each for the last of these and for
 * parsing its key.
 */
#define AGENT_MAX_TIMEOUTS	6

/*
 * Carry out a request (message.h) in a transaction of its own and send the reply.
 * Errors of the owner's code become results; others end the process.
 */
extern void serve_request(const void *data, Size len);

#endif							/* MIXPEEK_SERVE_H */
