/*-------------------------------------------------------------------------
 *
 * engine.h
 *		What drives libcurl: one multi handle, its sockets and its timer.
 *
 * Only http.c and transfer.c use it.  An engine runs in the caller's process: while the caller waits,
 * or in a thread of its own.  The thread knows nothing of PostgreSQL: it takes no memory
 * from a context, raises no error, gets no signal, and shares two lists with the caller.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_ENGINE_H
#define MIXPEEK_ENGINE_H

#include <curl/curl.h>

#include "lib/ilist.h"
#include "remote/room.h"

typedef struct Engine Engine;

/*
 * Queue of the transfers to one server.  At most at_once of them run together; later ones
 * wait here.  If a running one fails in a way that suggests that the server is unusable
 * (STATUS_HOLDS_OTHERS in status.h), the waiting ones end with ENGINE_NOT_BEGUN, unsent, and
 * the caller decides.  So do those that the caller started before it took that end, as it could
 * not know of it.  Must be zero-initialized, with "waiting" as an empty list; private to the
 * engine.
 */
typedef struct EngineLane
{
	int			at_once;		/* bound of the transfer started last; 0: no
								 * bound */
	int			running;		/* number of running transfers */
	dlist_head	waiting;		/* tasks */
	uint32		holds;			/* number of ends that held others back; the
								 * driver's */
	uint32		holds_taken;	/* how many of them the caller has taken; the
								 * caller's */
	bool		blocked;		/* do these wait for connections of other
								 * lanes? */
	dlist_node	blocked_node;	/* if so, in the engine's list "blocked" */
	RoomLane	room;
} EngineLane;

/*
 * A transfer, embedded in the caller's own struct.  The caller sets easy, lane and at_once
 * before engine_start(), and reads code, no_socket, paused and evicted after the end.
 */
typedef struct EngineTask
{
	dlist_node	node;			/* in the list that the task is in */
	CURL	   *easy;			/* with all options set */
	EngineLane *lane;
	uint32		holds;			/* at the start, the lane's holds_taken; at
								 * the end, its holds */
	int			at_once;		/* see EngineLane */
	bool		running;		/* does libcurl have it? */
	bool		paused;			/* does its answer wait for room? */
	bool		evicted;		/* was it ended because other answers waited
								 * for its room? */
	dlist_node	paused_node;	/* if paused, in the engine's list "paused" */
	int			no_socket;		/* errno if there was no descriptor for its
								 * socket, else 0 */
	RoomShare	share;
	Engine	   *engine;			/* set by engine_set_options() */
	CURLcode	code;			/* how it ended */
} EngineTask;

/* Code of a task that ended unsent.  libcurl itself gives it to no transfer driven here. */
#define ENGINE_NOT_BEGUN	CURLE_AGAIN

/*
 * Create an engine in the current memory context and store it in *place, which is set
 * before anything can fail.  With a thread, transfers go on while the caller does other
 * things; if no thread can be started, the engine does without.  Raises
 * ERRCODE_SYSTEM_ERROR or ERRCODE_INSUFFICIENT_RESOURCES if there is no file descriptor.
 */
extern void engine_create(Engine **place, bool thread);

/* End all transfers without reporting them, and free what is not in the memory context. */
extern void engine_destroy(Engine *engine);

/* Set the options of a transfer that are the engine's own. */
extern CURLcode engine_set_options(Engine *engine, EngineTask *task);

/* Start a transfer with the next engine_push() or engine_wait(). */
extern void engine_start(Engine *engine, EngineTask *task);

/* Hand over the started transfers and take those that have ended, without waiting. */
extern void engine_push(Engine *engine);

/* Return the next transfer that has ended, or NULL.  It is the caller's again. */
extern EngineTask *engine_next_ended(Engine *engine);

/*
 * Reserve memory for size bytes of the task's answer, in place of what it has.  Return
 * false if there is none: the task is then paused, and the callback must tell libcurl so
 * (CURL_WRITEFUNC_PAUSE), which will call it again with the same data.  Called from
 * libcurl's callbacks only.
 */
extern bool engine_take_room(EngineTask *task, size_t size);

/* Give back the memory of an ended task's answer.  Called by the caller of the engine. */
extern void engine_return_room(EngineTask *task);

/* End a transfer that is under way, without reporting it.  Only for an engine without a thread. */
extern void engine_cancel(Engine *engine, EngineTask *task);

/*
 * Sleep until a transfer has ended, the process latch is set, or timeout_ms has passed (-1:
 * no timeout).  Exits on postmaster death.
 */
extern void engine_wait(Engine *engine, long timeout_ms, uint32 wait_event);

#endif							/* MIXPEEK_ENGINE_H */
