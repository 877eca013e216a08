/*-------------------------------------------------------------------------
 *
 * lanes.c
 *		Which transfers run, which wait for their turn, and whose answers for room.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "remote/driver.h"
#include "remote/status.h"

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
	 * those at rest count, and make room for others; of those in use there
	 * are fewer, see lane_may_run()
	 */
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) engine->max_running);
	curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long) engine->max_running);
	return multi;
}

/* It is in no list. */
static void
finish(Engine *engine, EngineTask *task, CURLcode code)
{
	task->code = code;
	dlist_push_tail(&engine->finished, &task->node);
}

static bool
lane_has_room(const EngineLane *lane)
{
	return lane->at_once == 0 || lane->running < lane->at_once;
}

/*
 * Descriptors are few, and each lane leaves as many connections to others as it has itself: so there are
 * some for a server while another one, which answers nothing, may have a thousand.
 */
static bool
engine_has_room(const Engine *engine, const EngineLane *lane)
{
	return engine->nrunning < engine->max_running &&
		(lane->running == 0 || lane->running < engine->max_running - engine->nrunning);
}

/* Takes a task that is in no list. */
static void
begin(Engine *engine, EngineTask *task)
{
	if (engine->multi == NULL)
		engine->multi = create_multi(engine);
	if (engine->multi == NULL || curl_multi_add_handle(engine->multi, task->easy) != CURLM_OK)
	{
		finish(engine, task, CURLE_OUT_OF_MEMORY);
		return;
	}
	dlist_push_tail(&engine->running, &task->node);
	task->running = true;
	task->share.lane = &task->lane->room;
	task->lane->running++;
	engine->nrunning++;
}

/* Its tasks go on when other lanes' have ended. */
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

/* Begins what the lane and the engine have room for. */
static void
begin_waiting(Engine *engine, EngineLane *lane)
{
	unblock_lane(lane);
	while (!dlist_is_empty(&lane->waiting) && lane_has_room(lane))
	{
		if (!engine_has_room(engine, lane))
		{
			block_lane(engine, lane);
			return;
		}
		begin(engine, dlist_container(EngineTask, node, dlist_pop_head_node(&lane->waiting)));
	}
}

static void
begin_blocked(Engine *engine)
{
	dlist_head	lanes;

	if (dlist_is_empty(&engine->blocked))
		return;
	dlist_init(&lanes);
	move_all(&engine->blocked, &lanes);
	while (!dlist_is_empty(&lanes))
		begin_waiting(engine, dlist_head_element(EngineLane, blocked_node, &lanes));
}

void
lane_begin_or_wait(Engine *engine, EngineTask *task)
{
	EngineLane *lane = task->lane;

	lane->at_once = task->at_once;
	dlist_push_tail(&lane->waiting, &task->node);
	begin_waiting(engine, lane);
}

/* Takes it out of its list. */
void
lane_stop(Engine *engine, EngineTask *task)
{
	dlist_delete(&task->node);
	if (!task->running)
		return;
	task->running = false;
	if (task->paused)
		dlist_delete(&task->paused_node);	/* it remains so: that is how it
											 * ended */
	task->lane->running--;
	engine->nrunning--;
	if (engine->multi)
		curl_multi_remove_handle(engine->multi, task->easy);
}

/* Ends a task that the caller wants no more. */
void
lane_cancel(Engine *engine, EngineTask *task)
{
	lane_stop(engine, task);
	begin_waiting(engine, task->lane);
	begin_blocked(engine);
}

/* Does its end say something of the server, rather than of this request?  The caller is to decide what now. */
static bool
is_bad_sign(const EngineTask *task, CURLcode code)
{
	long		status = 0;

	if (code != CURLE_OK)
		return true;
	curl_easy_getinfo(task->easy, CURLINFO_RESPONSE_CODE, &status);
	return (status_meaning(HTTP_ANSWERED, (int) status)->flags & STATUS_HOLDS_OTHERS) != 0;
}

/* A running task's end is the beginning of another one, or the end of all that wait. */
void
lane_end_running(Engine *engine, EngineTask *task, CURLcode code)
{
	EngineLane *lane = task->lane;
	bool		bad = is_bad_sign(task, code);

	lane_stop(engine, task);
	finish(engine, task, code);
	while (bad && !dlist_is_empty(&lane->waiting))
		finish(engine, dlist_container(EngineTask, node, dlist_pop_head_node(&lane->waiting)),
			   ENGINE_NOT_BEGUN);
	begin_waiting(engine, lane);
	begin_blocked(engine);
}

/* Gives up all transfers and libcurl's state after an error inside libcurl. */
void
lane_fail(Engine *engine)
{
	while (!dlist_is_empty(&engine->running))
		lane_end_running(engine, dlist_head_element(EngineTask, node, &engine->running), CURLE_OUT_OF_MEMORY);
	curl_multi_cleanup(engine->multi);
	engine->nsockets = 0;		/* all are closed, what is known of them is
								 * void */
	engine->nopen = 0;
	engine->multi = NULL;
	engine->deadline = NO_DEADLINE;
}

/*
 * Room for answers
 */

bool
engine_take_room(EngineTask *task, size_t size)
{
	Engine	   *engine = task->engine;

	if (size <= ROOM_FREE)
		return true;
	task->paused = !room_take(&engine->room, &task->share, size, now_us());
	if (task->paused)
		dlist_push_tail(&engine->paused, &task->paused_node);
	return !task->paused;
}

/* Of those that there is room for now, the one whose lane had no large answer for the longest time. */
static EngineTask *
next_paused(Engine *engine)
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

/* Lets go on what there is room for. */
static void
resume_paused(Engine *engine)
{
	EngineTask *task;

	while ((task = next_paused(engine)) != NULL)
	{
		CURLcode	code;

		dlist_delete(&task->paused_node);
		task->paused = false;
		code = curl_easy_pause(task->easy, CURLPAUSE_CONT);
		if (code != CURLE_OK)
			lane_end_running(engine, task, code);
	}
}

/* Gives up the large answer that others have waited for too long. */
static void
evict_overdue(Engine *engine)
{
	RoomShare  *share = dlist_is_empty(&engine->paused) ? NULL : room_overdue(&engine->room, now_us());
	EngineTask *task;

	if (share == NULL)
		return;
	task = (EngineTask *) ((char *) share - offsetof(EngineTask, share));
	if (!task->running)
		return;					/* the caller is about to take it */
	task->evicted = true;
	lane_end_running(engine, task, CURLE_WRITE_ERROR);
}

void
lane_handle_room(Engine *engine)
{
	if (dlist_is_empty(&engine->paused))
		return;
	resume_paused(engine);
	evict_overdue(engine);
}
