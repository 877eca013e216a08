/*-------------------------------------------------------------------------
 *
 * lanes.c
 *		Which transfers run, which wait for their turn, and which answers
 *		wait for memory.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "remote/lanes.h"
#include "remote/sockets.h"
#include "remote/status.h"

/* Create libcurl's multi handle; return NULL if there is no memory. */
static CURLM *
create_multi(Engine *engine)
{
	CURLM	   *multi = curl_multi_init();

	if (multi == NULL)
		return NULL;
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, socket_watch_callback);
	curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, engine);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, engine_timer_callback);
	curl_multi_setopt(multi, CURLMOPT_TIMERDATA, engine);

	/*
	 * These count idle connections as well, which libcurl closes to make
	 * room. Connections in use never exceed the bound: see engine_has_room().
	 */
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) engine->max_running);
	curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long) engine->max_running);
	return multi;
}

/* Append a task that is in no list to those that have ended. */
static void
finish_task(Engine *engine, EngineTask *task, CURLcode code)
{
	task->code = code;
	dlist_push_tail(&engine->finished, &task->node);
}

/* Check whether the lane's own bound lets it run another task. */
static bool
lane_has_room(const EngineLane *lane)
{
	return lane->at_once == 0 || lane->running < lane->at_once;
}

/*
 * Check whether the engine's bound lets the lane run another task.  Descriptors are few, so
 * each lane leaves at least as many connections free as it has itself.  A server that does
 * not answer then cannot use up those of the other servers.
 */
static bool
engine_has_room(const Engine *engine, const EngineLane *lane)
{
	return engine->nrunning < engine->max_running &&
		(lane->running == 0 || lane->running < engine->max_running - engine->nrunning);
}

/* Hand a task that is in no list to libcurl; if that fails, the task has ended. */
static void
start_task(Engine *engine, EngineTask *task)
{
	if (engine->multi == NULL)
		engine->multi = create_multi(engine);
	if (engine->multi == NULL || curl_multi_add_handle(engine->multi, task->easy) != CURLM_OK)
	{
		finish_task(engine, task, CURLE_OUT_OF_MEMORY);
		return;
	}
	dlist_push_tail(&engine->running, &task->node);
	task->running = true;
	task->share.lane = &task->lane->room;
	task->lane->running++;
	engine->nrunning++;
}

/* Note that the lane's queue waits for connections of other lanes. */
static void
block_lane(Engine *engine, EngineLane *lane)
{
	if (lane->blocked)
		return;
	lane->blocked = true;
	dlist_push_tail(&engine->blocked, &lane->blocked_node);
}

static void
unblock_lane(EngineLane *lane)
{
	if (lane->blocked)
		dlist_delete(&lane->blocked_node);
	lane->blocked = false;
}

/* Start as many of the lane's queued tasks as the lane and the engine have room for. */
static void
start_queued_tasks(Engine *engine, EngineLane *lane)
{
	unblock_lane(lane);
	while (!dlist_is_empty(&lane->waiting) && lane_has_room(lane))
	{
		if (!engine_has_room(engine, lane))
		{
			block_lane(engine, lane);
			return;
		}
		start_task(engine, dlist_container(EngineTask, node, dlist_pop_head_node(&lane->waiting)));
	}
}

/* Start queued tasks of the lanes that waited for connections of other lanes. */
static void
start_blocked_lanes(Engine *engine)
{
	dlist_head	lanes;

	if (dlist_is_empty(&engine->blocked))
		return;
	dlist_init(&lanes);
	move_all(&engine->blocked, &lanes);
	while (!dlist_is_empty(&lanes))
		start_queued_tasks(engine, dlist_head_element(EngineLane, blocked_node, &lanes));
}

void
lane_start_or_queue(Engine *engine, EngineTask *task)
{
	EngineLane *lane = task->lane;

	lane->at_once = task->at_once;
	dlist_push_tail(&lane->waiting, &task->node);
	start_queued_tasks(engine, lane);
}

void
lane_remove(Engine *engine, EngineTask *task)
{
	dlist_delete(&task->node);
	if (!task->running)
		return;
	task->running = false;
	if (task->paused)
		dlist_delete(&task->paused_node);	/* "paused" stays set, for
											 * classify_end() in transfer.c */
	task->lane->running--;
	engine->nrunning--;
	if (engine->multi)
		curl_multi_remove_handle(engine->multi, task->easy);
}

void
lane_cancel(Engine *engine, EngineTask *task)
{
	lane_remove(engine, task);
	start_queued_tasks(engine, task->lane);
	start_blocked_lanes(engine);
}

/* Check whether the end suggests that the server is unusable, rather than that it refuses this request. */
static bool
holds_others(const EngineTask *task, CURLcode code)
{
	long		status = 0;

	if (code != CURLE_OK)
		return true;
	curl_easy_getinfo(task->easy, CURLINFO_RESPONSE_CODE, &status);
	return (status_meaning(HTTP_ANSWERED, (int) status)->flags & STATUS_HOLDS_OTHERS) != 0;
}

void
lane_end_running(Engine *engine, EngineTask *task, CURLcode code)
{
	EngineLane *lane = task->lane;
	bool		hold = holds_others(task, code);

	lane_remove(engine, task);
	finish_task(engine, task, code);
	while (hold && !dlist_is_empty(&lane->waiting))
		finish_task(engine, dlist_container(EngineTask, node, dlist_pop_head_node(&lane->waiting)),
					ENGINE_NOT_BEGUN);
	start_queued_tasks(engine, lane);
	start_blocked_lanes(engine);
}

void
lane_fail_all(Engine *engine)
{
	while (!dlist_is_empty(&engine->running))
		lane_end_running(engine, dlist_head_element(EngineTask, node, &engine->running), CURLE_OUT_OF_MEMORY);
	curl_multi_cleanup(engine->multi);
	engine->nsockets = 0;		/* all are closed */
	engine->nopen = 0;
	engine->multi = NULL;
	engine->deadline = NO_DEADLINE;
}

/*
 * Memory for answers
 */

/*
 * Return the next paused task that there is room for, or NULL: the one whose lane has had no
 * large answer for the longest time.
 */
static EngineTask *
find_resumable(Engine *engine)
{
	EngineTask *found = NULL;
	dlist_iter	iter;

	dlist_foreach(iter, &engine->paused)
	{
		EngineTask *task = dlist_container(EngineTask, paused_node, iter.cur);

		if ((found == NULL || task->share.lane->large_at < found->share.lane->large_at) &&
			room_has(&engine->room, &task->share, task->share.wanted))
			found = task;
	}
	return found;
}

/* Resume the paused answers that there is room for. */
static void
resume_paused_tasks(Engine *engine)
{
	EngineTask *task;

	while ((task = find_resumable(engine)) != NULL)
	{
		CURLcode	code;

		dlist_delete(&task->paused_node);
		task->paused = false;
		code = curl_easy_pause(task->easy, CURLPAUSE_CONT);
		if (code != CURLE_OK)
			lane_end_running(engine, task, code);
	}
}

/* End the task whose answer has been the large one for too long, if other answers wait. */
static void
evict_overdue_task(Engine *engine)
{
	RoomShare  *share = dlist_is_empty(&engine->paused) ? NULL : room_overdue(&engine->room, now_us());
	EngineTask *task;

	if (share == NULL)
		return;
	task = (EngineTask *) ((char *) share - offsetof(EngineTask, share));
	if (!task->running)
		return;					/* it has ended, and is about to be handed
								 * over */
	task->evicted = true;
	lane_end_running(engine, task, CURLE_WRITE_ERROR);
}

void
lane_handle_room(Engine *engine)
{
	if (dlist_is_empty(&engine->paused))
		return;
	resume_paused_tasks(engine);
	evict_overdue_task(engine);
}
