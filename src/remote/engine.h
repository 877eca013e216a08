/*-------------------------------------------------------------------------
 *
 * engine.h
 *		What drives libcurl: one multi handle, its sockets and its timer.
 *
 * Only http.c uses it.  It runs in the caller's own time, while the caller waits,
 * or in a thread.  That thread knows nothing of PostgreSQL: it takes no memory from a
 * context, raises nothing, gets no signal, and shares two lists with the caller.
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
 * Transfers to one server.  No more than at_once run together, and the others
 * wait for their turn here; when one ends in a way that bodes ill for them, they end, too, with
 * ENGINE_NOT_BEGUN.  Zeros to begin with; only the engine looks into it.
 */
typedef struct EngineLane
{
	int			at_once;		/* as the last transfer that was started says;
								 * 0: any number */
	int			running;
	dlist_head	waiting;
	bool		blocked;		/* some of these wait for connections of other
								 * lanes */
	dlist_node	blocked_node;	/* then in the engine's list of such lanes */
	RoomLane	room;
} EngineLane;

/* A transfer, as a part of what the caller knows of it. */
typedef struct EngineTask
{
	dlist_node	node;			/* in the list it stands in */
	CURL	   *easy;			/* with its options set */
	EngineLane *lane;
	int			at_once;
	bool		running;		/* libcurl has it */
	bool		paused;			/* until there is room for more of its answer */
	bool		evicted;		/* it was ended, as others waited for its room */
	dlist_node	paused_node;	/* then in the engine's list of such tasks */
	int			no_socket;		/* errno, where no socket could be made for
								 * it; else 0 */
	RoomShare	share;
	Engine	   *engine;
	CURLcode	code;			/* how it ended */
} EngineTask;

/* Libcurl itself gives this code to none of the transfers that are driven here. */
#define ENGINE_NOT_BEGUN	CURLE_AGAIN

/*
 * In the current memory context.  Raises what there is too little of; the engine's place
 * is filled in before that.  With a thread, transfers go on while the caller does other
 * things; where none can be started it does without.
 */
extern void engine_create(Engine **place, bool thread);

/* Ends all transfers; the tasks are the caller's again.  Safe on a half-built engine. */
extern void engine_destroy(Engine *engine);

/* The options of a transfer that are the engine's own: CURLOPT_PRIVATE and how sockets are made. */
extern CURLcode engine_set_options(Engine *engine, EngineTask *task);

/*
 * A transfer for the next engine_push() or engine_wait().  engine_push() does not
 * wait; it also sees which transfers have ended.
 */
extern void engine_start(Engine *engine, EngineTask *task);
extern void engine_push(Engine *engine);

/* A transfer that had ended by then, or NULL. */
extern EngineTask *engine_next_ended(Engine *engine);

/*
 * Room for an answer.  From libcurl's callbacks: may the task's answer have size bytes?  If not it
 * is paused; the callback says so to libcurl, and will be called again with the same data.
 * For the caller: the task has ended, and what its answer took is free again.
 */
extern bool engine_take_room(EngineTask *task, size_t size);
extern void engine_return_room(EngineTask *task);

/* Ends a transfer that is under way; only for an engine without a thread. */
extern void engine_cancel(Engine *engine, EngineTask *task);

/*
 * Sleeps until a transfer has ended, the process latch is set, or timeout_ms has
 * passed (-1: no timeout); exits on postmaster death.
 */
extern void engine_wait(Engine *engine, long timeout_ms, uint32 wait_event);

#endif							/* MIXPEEK_ENGINE_H */
