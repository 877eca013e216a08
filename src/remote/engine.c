/*-------------------------------------------------------------------------
 *
 * engine.c
 *		What drives libcurl: one multi handle, its sockets and its timer.
 *
 * libcurl is driven by its socket interface: it names the sockets that it waits for,
 * which go into an epoll descriptor, and its one timer becomes a deadline that bounds
 * the wait.  The driver is whoever does that.  Without a thread it is the caller, while
 * it waits: the epoll descriptor is one entry of its WaitEventSet, beside the latch and
 * the postmaster's death.  With a thread it is the thread, and the caller's set has an
 * eventfd instead, which says that transfers have ended.  All else is the same.
 *
 * The thread exists because claiming and settling take longer than the network work.
 * Without it, requests would wait to be sent and responses to be read during that time,
 * while a second core is idle.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "miscadmin.h"
#include "remote/lanes.h"
#include "remote/sockets.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#define MAX_EVENTS			64

/* While answers wait for room, room is checked at least this often, in milliseconds. */
#define ROOM_CHECK_INTERVAL	1000

static void
lock_engine(Engine *engine)
{
	if (engine->threaded)
		pthread_mutex_lock(&engine->mutex);
}

static void
unlock_engine(Engine *engine)
{
	if (engine->threaded)
		pthread_mutex_unlock(&engine->mutex);
}

/*
 * The driver
 */

int
engine_timer_callback(CURLM *multi, long timeout_ms, void *arg)
{
	Engine	   *engine = arg;

	engine->deadline = timeout_ms < 0 ? NO_DEADLINE :
		now_us() + (int64) timeout_ms * 1000;
	engine->deadline_set = true;
	return 0;
}

CURLcode
engine_set_options(Engine *engine, EngineTask *task)
{
	CURL	   *easy = task->easy;
	CURLcode	code = curl_easy_setopt(easy, CURLOPT_PRIVATE, task);

	task->engine = engine;
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, socket_open);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, task);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, socket_close);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, engine);
	return code;
}

/* Have libcurl handle the events of one socket, or its timer. */
static void
run_libcurl(Engine *engine, curl_socket_t fd, int events)
{
	int			running;

	if (engine->multi &&
		curl_multi_socket_action(engine->multi, fd, events, &running) != CURLM_OK)
		lane_fail_all(engine);
}

/* Handle one event that epoll has reported. */
static void
handle_event(Engine *engine, const struct epoll_event *event)
{
	int			fd = event->data.fd;
	EngineSocket *entry = socket_entry(engine, fd);
	int			events = 0;

	if (entry == NULL)
		return;
	if (entry->wanted == 0)
	{
		/* the server closed an idle connection, which libcurl notices itself */
		(void) socket_watch(engine, fd, entry);
		return;
	}
	if (event->events & EPOLLIN)
		events |= CURL_CSELECT_IN;
	if (event->events & EPOLLOUT)
		events |= CURL_CSELECT_OUT;
	run_libcurl(engine, fd, events);	/* with 0, libcurl checks the socket
										 * for errors */
}

/* Reset an eventfd. */
static void
reset_wake(int fd)
{
	eventfd_t	count;

	(void) eventfd_read(fd, &count);
}

/* Wait for events of sockets, for timeout_ms at most, and handle them. */
static void
handle_sockets(Engine *engine, int timeout_ms)
{
	struct epoll_event events[MAX_EVENTS];
	int			n;

	do
	{
		n = epoll_wait(engine->epoll_fd, events, MAX_EVENTS, timeout_ms);
		for (int i = 0; i < n; i++)
		{
			if (events[i].data.fd == engine->driver_wake)
				reset_wake(engine->driver_wake);
			else
				handle_event(engine, &events[i]);
		}
		timeout_ms = 0;
	} while (n == MAX_EVENTS);
}

/*
 * Run libcurl's timer if it is due.  libcurl does not call the timer callback if it thinks
 * that its timer has not changed, for example because it was run a moment too early.  In that
 * case, ask libcurl for the time.
 */
static void
handle_timer(Engine *engine)
{
	long		timeout_ms = -1;

	if (engine->deadline == NO_DEADLINE || engine->deadline > now_us())
		return;
	engine->deadline_set = false;
	run_libcurl(engine, CURL_SOCKET_TIMEOUT, 0);
	if (engine->deadline_set || engine->multi == NULL)
		return;
	curl_multi_timeout(engine->multi, &timeout_ms);
	(void) engine_timer_callback(engine->multi, timeout_ms == 0 ? 1 : timeout_ms, engine);
}

/* Take the transfers that libcurl has finished. */
static void
collect_finished(Engine *engine)
{
	CURLMsg    *message;
	int			left;

	while (engine->multi &&
		   (message = curl_multi_info_read(engine->multi, &left)) != NULL)
	{
		CURLcode	code = message->data.result;
		EngineTask *task = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &task);
		lane_end_running(engine, task, code);	/* frees message, too */
	}
}

/*
 * Return the milliseconds until libcurl's timer is due, or -1 if it is not set.  Round up, as
 * running it early has no effect.
 */
static int
time_to_timer(Engine *engine)
{
	int			most = dlist_is_empty(&engine->paused) ? INT_MAX : ROOM_CHECK_INTERVAL;
	int64		left;

	if (engine->deadline == NO_DEADLINE)
		return most == INT_MAX ? -1 : most;
	left = engine->deadline - now_us();
	return left <= 0 ? 0 : (int) Min((left + 999) / 1000, most);
}

/*
 * Start or queue the tasks that the caller has handed over.  Return whether there is anything
 * to do at once; if not, the caller wakes the driver when there is.
 */
static bool
take_started(Engine *engine)
{
	dlist_head	tasks;
	bool		any;

	dlist_init(&tasks);
	lock_engine(engine);
	move_all(&engine->started, &tasks);
	any = !dlist_is_empty(&tasks) || engine->stop || engine->room_returned;
	engine->room_returned = false;
	engine->driver_sleeps = !any;
	unlock_engine(engine);
	while (!dlist_is_empty(&tasks))
		lane_start_or_queue(engine, dlist_container(EngineTask, node, dlist_pop_head_node(&tasks)));
	return any;
}

/* Hand the ended tasks to the caller; return false if the engine is to stop. */
static bool
give_finished(Engine *engine)
{
	bool		wake;
	bool		stop;

	lock_engine(engine);
	engine->driver_sleeps = false;
	wake = engine->threaded && engine->caller_sleeps && !dlist_is_empty(&engine->finished);
	if (wake)
		engine->caller_sleeps = false;
	move_all(&engine->finished, &engine->ended);
	stop = engine->stop;
	unlock_engine(engine);
	if (wake)
		(void) eventfd_write(engine->caller_wake, 1);
	return !stop;
}

/* Run the driver, as the main function of the thread. */
static void *
run_thread(void *arg)
{
	Engine	   *engine = arg;

	do
	{
		bool		any = take_started(engine);

		handle_sockets(engine, any ? 0 : time_to_timer(engine));
		handle_timer(engine);
		collect_finished(engine);
		lane_handle_room(engine);
	} while (give_finished(engine));
	return NULL;
}

/*
 * The caller
 */

/*
 * Block all signals.  No signal may be delivered to a thread other than PostgreSQL's own:
 * the engine's thread and libcurl's resolver threads inherit the mask in force when they are
 * created.
 */
static void
block_signals(sigset_t *saved)
{
	sigset_t	all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, saved);
}

static void
restore_signals(const sigset_t *saved)
{
	pthread_sigmask(SIG_SETMASK, saved, NULL);
}

/* Do one round of the driver's work in the caller. */
static void
drive_once(Engine *engine, bool sockets)
{
	sigset_t	saved;

	block_signals(&saved);
	(void) take_started(engine);
	if (sockets)
		handle_sockets(engine, 0);
	handle_timer(engine);
	collect_finished(engine);
	lane_handle_room(engine);
	(void) give_finished(engine);
	restore_signals(&saved);
}

void
engine_start(Engine *engine, EngineTask *task)
{
	task->holds = task->lane->holds_taken;
	dlist_push_tail(&engine->starting, &task->node);
}

/* Hand the started tasks to the driver, and wake it if need be. */
static void
give_starting(Engine *engine)
{
	bool		wake;

	if (dlist_is_empty(&engine->starting))
		return;
	lock_engine(engine);
	move_all(&engine->starting, &engine->started);
	wake = engine->driver_sleeps;
	engine->driver_sleeps = false;
	unlock_engine(engine);
	if (wake && engine->threaded)
		(void) eventfd_write(engine->driver_wake, 1);
}

/*
 * Take the ended tasks from the driver; return whether there are any for engine_next_ended().
 * If there are none and sleep is set, the driver wakes the caller when there are.
 */
static bool
receive_ended(Engine *engine, bool sleep)
{
	lock_engine(engine);
	move_all(&engine->ended, &engine->taken);
	engine->caller_sleeps = sleep && dlist_is_empty(&engine->taken);
	unlock_engine(engine);
	return !dlist_is_empty(&engine->taken);
}

void
engine_push(Engine *engine)
{
	give_starting(engine);
	if (!engine->threaded)
		drive_once(engine, false);
	(void) receive_ended(engine, false);
}

EngineTask *
engine_next_ended(Engine *engine)
{
	EngineTask *task;

	if (dlist_is_empty(&engine->taken))
		return NULL;
	task = dlist_container(EngineTask, node, dlist_pop_head_node(&engine->taken));
	task->lane->holds_taken = task->holds;
	return task;
}

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

void
engine_return_room(EngineTask *task)
{
	Engine	   *engine = task->engine;
	bool		wake;

	if (engine == NULL || !room_return(&engine->room, &task->share))
		return;
	lock_engine(engine);
	engine->room_returned = true;
	wake = engine->driver_sleeps;
	engine->driver_sleeps = false;
	unlock_engine(engine);
	if (wake && engine->threaded)
		(void) eventfd_write(engine->driver_wake, 1);
}

void
engine_cancel(Engine *engine, EngineTask *task)
{
	Assert(!engine->threaded);
	lane_cancel(engine, task);
	task->lane->holds_taken = task->lane->holds;
}

/*
 * Return how long the caller may sleep, in milliseconds, or -1 if there is no bound.  The clock
 * is read only once: a negative difference would mean no bound.
 */
static long
wait_time(Engine *engine, int64 until)
{
	int64		now = now_us();
	int64		end = until;

	if (!engine->threaded && engine->deadline != NO_DEADLINE && (end < 0 || engine->deadline < end))
		end = engine->deadline;
	if (!engine->threaded && !dlist_is_empty(&engine->paused))
		end = Min(end < 0 ? PG_INT64_MAX : end, now + ROOM_CHECK_INTERVAL * 1000);
	if (end < 0)
		return -1;
	return end <= now ? 0 : (long) Min((end - now + 999) / 1000, INT_MAX);
}

void
engine_wait(Engine *engine, long timeout_ms, uint32 wait_event)
{
	int64		until = timeout_ms < 0 ? -1 : now_us() + (int64) timeout_ms * 1000;
	bool		over = false;

	engine_push(engine);
	while (!receive_ended(engine, true) && !over)
	{
		WaitEvent	event;
		int			n = WaitEventSetWait(engine->wait_set, wait_time(engine, until), &event, 1, wait_event);

		if (!engine->threaded)
			drive_once(engine, n > 0);	/* after any event, as a latch that is
										 * set again and again hides sockets */
		else if (n > 0 && event.events & WL_SOCKET_READABLE)
			reset_wake(engine->caller_wake);
		over = (n > 0 && (event.events & WL_LATCH_SET)) ||
			(until >= 0 && now_us() >= until);
	}
}

/*
 * Creation and destruction
 */

/*
 * Check a new descriptor, and count it among those that PostgreSQL may open.  Raise an error
 * if it is invalid, or if there is none left.
 */
static int
keep_descriptor(int fd)
{
	if (fd < 0)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not create a descriptor for HTTP requests: %m")));
	if (!AcquireExternalFD())
	{
		close(fd);
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not open another file descriptor for HTTP requests")));
	}
	return fd;
}

/* Close a descriptor of keep_descriptor(), unless it is -1. */
static void
close_descriptor(int *fd)
{
	if (*fd < 0)
		return;
	close(*fd);
	ReleaseExternalFD();
	*fd = -1;
}

static void
create_wait_set(Engine *engine)
{
	engine->wait_set = COMPAT_CREATE_WAIT_EVENT_SET(3);
	AddWaitEventToSet(engine->wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	if (IsUnderPostmaster)
		AddWaitEventToSet(engine->wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET,
						  NULL, NULL);
	AddWaitEventToSet(engine->wait_set, WL_SOCKET_READABLE,
					  engine->threaded ? engine->caller_wake : engine->epoll_fd, NULL, NULL);
}

static void
stop_thread(Engine *engine)
{
	if (!engine->threaded)
		return;
	lock_engine(engine);
	engine->stop = true;
	unlock_engine(engine);
	(void) eventfd_write(engine->driver_wake, 1);
	pthread_join(engine->thread, NULL);
	engine->threaded = false;
}

/* The process's engine with a thread; there is at most one. */
static Engine *threaded_engine = NULL;

/*
 * Stop the thread before the session lock is released, since another worker may start as soon
 * as it is.
 */
static void
stop_thread_at_exit(int code, Datum arg)
{
	if (threaded_engine)
		stop_thread(threaded_engine);
}

/* Start the thread; if that is not possible, the caller drives the engine itself. */
static void
start_thread(Engine *engine)
{
	struct epoll_event event = {.events = EPOLLIN};
	sigset_t	saved;

	engine->driver_wake = keep_descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	engine->caller_wake = keep_descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	event.data.fd = engine->driver_wake;
	if (epoll_ctl(engine->epoll_fd, EPOLL_CTL_ADD, engine->driver_wake, &event) != 0)
		return;
	engine->threaded = true;
	block_signals(&saved);
	if (pthread_create(&engine->thread, NULL, run_thread, engine) != 0)
		engine->threaded = false;
	restore_signals(&saved);
	if (!engine->threaded)
		return;
	threaded_engine = engine;
	before_shmem_exit(stop_thread_at_exit, (Datum) 0);
}

void
engine_create(Engine **place, bool thread)
{
	Engine	   *engine = *place = palloc0(sizeof(Engine));

	engine->epoll_fd = engine->driver_wake = engine->caller_wake = -1;
	engine->deadline = NO_DEADLINE;
	engine->max_open = Max(4, max_safe_fds / 2);
	engine->max_running = Max(2, max_safe_fds / 3); /* a connection may try
													 * two addresses at once */
	room_init(&engine->room);
	dlist_init(&engine->running);
	dlist_init(&engine->finished);
	dlist_init(&engine->paused);
	dlist_init(&engine->blocked);
	dlist_init(&engine->starting);
	dlist_init(&engine->taken);
	dlist_init(&engine->started);
	dlist_init(&engine->ended);
	pthread_mutex_init(&engine->mutex, NULL);
	engine->epoll_fd = keep_descriptor(epoll_create1(EPOLL_CLOEXEC));
	if (thread)
		start_thread(engine);
	create_wait_set(engine);
}

void
engine_destroy(Engine *engine)
{
	stop_thread(engine);
	if (threaded_engine == engine)
		threaded_engine = NULL;
	while (!dlist_is_empty(&engine->running))
		lane_remove(engine, dlist_head_element(EngineTask, node, &engine->running));
	if (engine->multi)
		curl_multi_cleanup(engine->multi);
	if (engine->wait_set)
		FreeWaitEventSet(engine->wait_set);
	close_descriptor(&engine->epoll_fd);
	close_descriptor(&engine->driver_wake);
	close_descriptor(&engine->caller_wake);
	free(engine->sockets);
}
