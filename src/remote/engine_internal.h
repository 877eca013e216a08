/*-------------------------------------------------------------------------
 *
 * engine_internal.h
 *		The engine's insides, for engine.c, sockets.c and lanes.c only.
 *
 * The driver is whoever runs libcurl: the engine's thread, or the caller itself while
 * it waits, if the engine has no thread.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_ENGINE_INTERNAL_H
#define MIXPEEK_ENGINE_INTERNAL_H

#include <pthread.h>
#include <time.h>

#include "remote/engine.h"
#include "storage/latch.h"

#define NO_DEADLINE			(-1)

/* The events of a descriptor that libcurl waits for, and those that epoll reports. */
typedef struct EngineSocket
{
	uint32		wanted;			/* EPOLL... flags */
	uint32		watched;
	bool		ours;			/* made by socket_open(), so that
								 * socket_close() is called at its end */
} EngineSocket;

struct Engine
{
	/* used by the driver only */
	CURLM	   *multi;			/* NULL: created for the next transfer */
	int			epoll_fd;
	EngineSocket *sockets;		/* indexed by descriptor; malloc'd */
	int			nsockets;
	int64		deadline;		/* of libcurl's timer, or NO_DEADLINE */
	bool		deadline_set;	/* has libcurl set the deadline since this was
								 * reset? */
	dlist_head	running;		/* tasks that libcurl has */
	dlist_head	finished;		/* ended tasks, not yet handed over */
	dlist_head	paused;			/* running tasks that wait for room */
	dlist_head	blocked;		/* lanes whose tasks wait for connections */
	int			nrunning;
	int			nopen;			/* open sockets */

	/* used by the caller only */
	WaitEventSet *wait_set;
	dlist_head	starting;		/* started tasks, not yet handed over */
	dlist_head	taken;			/* ended tasks, for engine_next_ended() */

	/* handed from one to the other, under the mutex if there is a thread */
	bool		threaded;
	pthread_t	thread;
	pthread_mutex_t mutex;
	dlist_head	started;
	dlist_head	ended;
	bool		stop;
	bool		room_returned;	/* since the driver last read it */
	bool		driver_sleeps;
	bool		caller_sleeps;
	int			driver_wake;	/* eventfd that wakes the driver, or -1 */
	int			caller_wake;	/* eventfd that wakes the caller, or -1 */

	/* read by both */
	Room		room;
	int			max_running;	/* most transfers at once; constant */
	int			max_open;		/* most open sockets; constant */
};

/* Return the time of a clock that never jumps, in microseconds. */
static inline int64
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Append all elements of a list to another one. */
static inline void
move_all(dlist_head *from, dlist_head *to)
{
	while (!dlist_is_empty(from))
		dlist_push_tail(to, dlist_pop_head_node(from));
}

/* Set the deadline, as libcurl's CURLMOPT_TIMERFUNCTION; arg is the engine. */
extern int	engine_timer_callback(CURLM *multi, long timeout_ms, void *arg);

#endif							/* MIXPEEK_ENGINE_INTERNAL_H */
