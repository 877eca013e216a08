/*-------------------------------------------------------------------------
 *
 * driver.h
 *		What the parts of the engine share: engine.c, sockets.c and lanes.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_DRIVER_H
#define MIXPEEK_DRIVER_H

#include <pthread.h>
#include <time.h>

#include "remote/engine.h"
#include "storage/latch.h"

#define NO_DEADLINE			(-1)

/* What libcurl wants to know about a descriptor, and what epoll was told. */
typedef struct EngineSocket
{
	uint32		wanted;
	uint32		watched;
	bool		ours;			/* made by open_socket(): its end will be told */
} EngineSocket;

struct Engine
{
	/* the driver's */
	CURLM	   *multi;			/* NULL: to be made for the next transfer */
	int			epoll_fd;
	EngineSocket *sockets;		/* indexed by descriptor; malloc'd */
	int			nsockets;
	int64		deadline;		/* of libcurl's timer, or NO_DEADLINE */
	bool		deadline_told;	/* has libcurl set it since we asked? */
	dlist_head	running;
	dlist_head	finished;		/* not yet handed over */
	dlist_head	paused;			/* of the running ones, those that wait for
								 * room */
	dlist_head	blocked;		/* lanes whose tasks wait for connections */
	int			nrunning;
	int			nopen;			/* sockets */

	/* the caller's */
	WaitEventSet *wait_set;
	dlist_head	starting;		/* not yet handed over */
	dlist_head	taken;			/* ended, for engine_next_ended() */

	/* where one gives to the other, under the mutex if there is a thread */
	bool		threaded;
	pthread_t	thread;
	pthread_mutex_t mutex;
	dlist_head	started;
	dlist_head	ended;
	bool		stop;
	bool		room_returned;	/* since the driver looked */
	bool		driver_sleeps;
	bool		caller_sleeps;
	int			driver_wake;	/* eventfd that the driver watches, -1: none */
	int			caller_wake;	/* the same for the caller */

	/* shared */
	Room		room;
	int			max_running;	/* transfers; never changed */
	int			max_open;		/* sockets; never changed */
};

/* Microseconds of a clock that never jumps. */
static inline int64
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static inline void
move_all(dlist_head *from, dlist_head *to)
{
	while (!dlist_is_empty(from))
		dlist_push_tail(to, dlist_pop_head_node(from));
}

/*
 * sockets.c: what is known of a descriptor (NULL: no memory), and telling epoll what is wanted of it.
 */
extern EngineSocket *socket_entry(Engine *engine, int fd);
extern bool socket_watch(Engine *engine, int fd, EngineSocket *entry);

/* libcurl's callbacks. */
extern int	socket_watch_callback(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused);
extern curl_socket_t socket_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address);
extern int	socket_close(void *arg, curl_socket_t fd);
extern int	engine_timer_callback(CURLM *multi, long timeout_ms, void *arg);

/*
 * lanes.c: begins a task that is in no list, or has it wait for its turn; ends one that is running; takes
 * one out of its list, or does so and begins what can be begun then; gives all up after an error inside
 * libcurl; lets answers go on for which there is room.
 */
extern void lane_begin_or_wait(Engine *engine, EngineTask *task);
extern void lane_end_running(Engine *engine, EngineTask *task, CURLcode code);
extern void lane_stop(Engine *engine, EngineTask *task);
extern void lane_cancel(Engine *engine, EngineTask *task);
extern void lane_fail(Engine *engine);
extern void lane_handle_room(Engine *engine);

#endif							/* MIXPEEK_DRIVER_H */
