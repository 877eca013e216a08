/*-------------------------------------------------------------------------
 *
 * lanes.h
 *		Which transfers run, which wait for their turn, and which answers
 *		wait for memory.
 *
 * Only the driver of an engine calls these functions.  They neither raise errors nor
 * take memory from a context.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_LANES_H
#define MIXPEEK_LANES_H

#include "remote/engine_internal.h"

/*
 * Start a task that is in no list, or queue it in its lane; or end it with ENGINE_NOT_BEGUN
 * if the caller did not know, when it started it, that the server is unusable.
 */
extern void lane_start_or_queue(Engine *engine, EngineTask *task);

/*
 * End a running task with this code: it goes to the engine's list "finished".  Then start
 * the tasks that there is now room for; or, if the end suggests that the server is
 * unusable, end all that are queued in its lane with ENGINE_NOT_BEGUN.
 */
extern void lane_end_running(Engine *engine, EngineTask *task, CURLcode code);

/* Take a task, running or queued, out of its list; nothing is started in its place. */
extern void lane_remove(Engine *engine, EngineTask *task);

/* Take a task out of its list, and start the tasks that there is now room for. */
extern void lane_cancel(Engine *engine, EngineTask *task);

/* End all running tasks with CURLE_OUT_OF_MEMORY and free libcurl's multi handle, which failed. */
extern void lane_fail_all(Engine *engine);

/*
 * Resume the paused answers that there is room for, and give up the answer that has had
 * more than its share for too long while others wait.
 */
extern void lane_handle_room(Engine *engine);

#endif							/* MIXPEEK_LANES_H */
