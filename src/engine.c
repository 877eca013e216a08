/*-------------------------------------------------------------------------
 *
 * engine.c
 *		What drives libcurl: one multi handle, its sockets and its timer.
 *
 * libcurl is driven by its socket interface: it names the sockets it waits for,
 * they go into an epoll descriptor, and its one timer is a deadline that bounds
 * the wait.  Somebody has to do that: the driver.  Without a thread it is the caller
 * itself, while it waits: then the epoll descriptor is one entry of its
 * WaitEventSet, beside the latch and the postmaster's death.  With a thread it is
 * the thread, and what the caller's set has instead is an eventfd that says "some
 * have ended".  Nothing else is different.
 *
 * What a worker does with the database takes longer than what it does with the
 * network; meanwhile requests would wait to be written and answers to be read, and
 * on another core there is nobody who does.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#define MAX_EVENTS			64
#define NO_DEADLINE			(-1)

/* While answers wait for room it is looked at so often, in milliseconds. */
#define LOOK_AT_ROOM		1000

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
	dlist_head	paused;			/* of the running ones, those that wait for room */
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
static int64
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void
move_all(dlist_head *from, dlist_head *to)
{
	while (!dlist_is_empty(from))
		dlist_push_tail(to, dlist_pop_head_node(from));
}

static void
lock(Engine *engine)
{
	if (engine->threaded)
		pthread_mutex_lock(&engine->mutex);
}

static void
unlock(Engine *engine)
{
	if (engine->threaded)
		pthread_mutex_unlock(&engine->mutex);
}

/*
 * The driver: sockets
 */

static EngineSocket *
socket_entry(Engine *engine, int fd)
{
	if (fd >= engine->nsockets)
	{
		int			n = Max(fd + 1, Max(64, engine->nsockets * 2));
		EngineSocket *enlarged = realloc(engine->sockets, n * sizeof(EngineSocket));

		if (enlarged == NULL)
			return NULL;
		memset(enlarged + engine->nsockets, 0,
			   (n - engine->nsockets) * sizeof(EngineSocket));
		engine->sockets = enlarged;
		engine->nsockets = n;
	}
	return &engine->sockets[fd];
}

/* Tells epoll what is wanted; false if it could not. */
static bool
watch_socket(Engine *engine, int fd, EngineSocket *entry)
{
	struct epoll_event event = {.events = entry->wanted, .data.fd = fd};
	int			rc;

	if (entry->wanted == entry->watched)
		return true;
	if (entry->wanted == 0)
	{
		/* it may be closed already, and then epoll has forgotten it */
		(void) epoll_ctl(engine->epoll_fd, EPOLL_CTL_DEL, fd, &event);
		rc = 0;
	}
	else if (entry->watched == 0)
		rc = epoll_ctl(engine->epoll_fd, EPOLL_CTL_ADD, fd, &event);
	else
		rc = epoll_ctl(engine->epoll_fd, EPOLL_CTL_MOD, fd, &event);
	if (rc == 0)
		entry->watched = entry->wanted;
	return rc == 0;
}

/*
 * libcurl's CURLMOPT_SOCKETFUNCTION.  A connection that comes to rest is left in
 * epoll, as its next request usually follows at once: two system calls a request
 * less.  That is safe for sockets whose end close_socket() will tell.
 */
static int
watch_callback(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
	Engine	   *engine = arg;
	EngineSocket *entry = socket_entry(engine, fd);

	if (entry == NULL)
		return -1;
	entry->wanted = 0;
	if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
		entry->wanted |= EPOLLIN;
	if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
		entry->wanted |= EPOLLOUT;
	if (entry->wanted == 0 && entry->ours && entry->watched == EPOLLIN)
		return 0;
	return watch_socket(engine, fd, entry) ? 0 : -1;
}

/* The descriptor, or -1 and errno. */
static int
make_socket(Engine *engine, const struct curl_sockaddr *address)
{
	EngineSocket *entry;
	int			fd;

	if (engine->nopen >= engine->max_open)
	{
		errno = EMFILE;
		return -1;
	}
	fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
	if (fd < 0)
		return -1;
	entry = socket_entry(engine, fd);
	if (entry == NULL)
	{
		close(fd);
		errno = ENOMEM;
		return -1;
	}
	entry->wanted = entry->watched = 0;
	entry->ours = true;
	engine->nopen++;
	return fd;
}

/* libcurl's CURLOPT_OPENSOCKETFUNCTION.  Where there is no descriptor, that is no fault of the server's. */
static curl_socket_t
open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	EngineTask *task = arg;
	int			fd = make_socket(task->engine, address);

	if (fd >= 0)
	{
		task->no_socket = 0;
		return fd;
	}
	if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
		task->no_socket = errno;
	return CURL_SOCKET_BAD;
}

static int
close_socket(void *arg, curl_socket_t fd)
{
	Engine	   *engine = arg;

	if (fd < engine->nsockets)
		memset(&engine->sockets[fd], 0, sizeof(EngineSocket));
	engine->nopen--;
	return close(fd);
}

/* libcurl's CURLMOPT_TIMERFUNCTION. */
static int
timer_callback(CURLM *multi, long timeout_ms, void *arg)
{
	Engine	   *engine = arg;

	engine->deadline = timeout_ms < 0 ? NO_DEADLINE :
		now_us() + (int64) timeout_ms * 1000;
	engine->deadline_told = true;
	return 0;
}

CURLcode
engine_set_options(Engine *engine, EngineTask *task)
{
	CURL	   *easy = task->easy;
	CURLcode	code = curl_easy_setopt(easy, CURLOPT_PRIVATE, task);

	task->engine = engine;
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, task);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, engine);
	return code;
}

/*
 * The driver: transfers
 */

static CURLM *
create_multi(Engine *engine)
{
	CURLM	   *multi = curl_multi_init();

	if (multi == NULL)
		return NULL;
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch_callback);
	curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, engine);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, timer_callback);
	curl_multi_setopt(multi, CURLMOPT_TIMERDATA, engine);
	/* those at rest count, and make room for others; of those in use there are fewer, see lane_may_run() */
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

static void
begin_or_wait(Engine *engine, EngineTask *task)
{
	EngineLane *lane = task->lane;

	lane->at_once = task->at_once;
	dlist_push_tail(&lane->waiting, &task->node);
	begin_waiting(engine, lane);
}

/* Takes it out of its list. */
static void
stop(Engine *engine, EngineTask *task)
{
	dlist_delete(&task->node);
	if (!task->running)
		return;
	task->running = false;
	if (task->paused)
		dlist_delete(&task->paused_node);	/* it remains so: that is how it ended */
	task->lane->running--;
	engine->nrunning--;
	if (engine->multi)
		curl_multi_remove_handle(engine->multi, task->easy);
}

/* Does its end say something of the server, rather than of this request?  The caller is to decide what now. */
static bool
is_bad_sign(const EngineTask *task, CURLcode code)
{
	long		status = 0;

	if (code != CURLE_OK)
		return true;
	curl_easy_getinfo(task->easy, CURLINFO_RESPONSE_CODE, &status);
	return status < 200 || (status >= 300 && status < 400) || status == 401 || status == 429 || status >= 500;
}

/* A running task's end is the beginning of another one, or the end of all that wait. */
static void
end_running(Engine *engine, EngineTask *task, CURLcode code)
{
	EngineLane *lane = task->lane;
	bool		bad = is_bad_sign(task, code);

	stop(engine, task);
	finish(engine, task, code);
	while (bad && !dlist_is_empty(&lane->waiting))
		finish(engine, dlist_container(EngineTask, node, dlist_pop_head_node(&lane->waiting)),
			   ENGINE_NOT_BEGUN);
	begin_waiting(engine, lane);
	begin_blocked(engine);
}

/* Gives up all transfers and libcurl's state after an error inside libcurl. */
static void
fail(Engine *engine)
{
	while (!dlist_is_empty(&engine->running))
		end_running(engine, dlist_head_element(EngineTask, node, &engine->running), CURLE_OUT_OF_MEMORY);
	curl_multi_cleanup(engine->multi);
	engine->nsockets = 0;		/* all are closed, what is known of them is void */
	engine->nopen = 0;
	engine->multi = NULL;
	engine->deadline = NO_DEADLINE;
}

/* Lets libcurl act on one socket, or on its timer. */
static void
act(Engine *engine, curl_socket_t fd, int events)
{
	int			running;

	if (engine->multi &&
		curl_multi_socket_action(engine->multi, fd, events, &running) != CURLM_OK)
		fail(engine);
}

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
		/* the other side closed a connection at rest; libcurl will see it */
		(void) watch_socket(engine, fd, entry);
		return;
	}
	if (event->events & EPOLLIN)
		events |= CURL_CSELECT_IN;
	if (event->events & EPOLLOUT)
		events |= CURL_CSELECT_OUT;
	act(engine, fd, events);	/* for an error alone libcurl looks for itself */
}

/* Takes an eventfd's count. */
static void
take_wake(int fd)
{
	eventfd_t	count;

	(void) eventfd_read(fd, &count);
}

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
				take_wake(engine->driver_wake);
			else
				handle_event(engine, &events[i]);
		}
		timeout_ms = 0;
	} while (n == MAX_EVENTS);
}

/*
 * Runs libcurl's timer if it is due.  libcurl keeps silent about a timer that
 * it thinks has not changed, as when we come a moment early: then it is asked.
 */
static void
handle_timer(Engine *engine)
{
	long		timeout_ms = -1;

	if (engine->deadline == NO_DEADLINE || engine->deadline > now_us())
		return;
	engine->deadline_told = false;
	act(engine, CURL_SOCKET_TIMEOUT, 0);
	if (engine->deadline_told || engine->multi == NULL)
		return;
	curl_multi_timeout(engine->multi, &timeout_ms);
	(void) timer_callback(engine->multi, timeout_ms == 0 ? 1 : timeout_ms, engine);
}

/* Takes over what libcurl has finished. */
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
		end_running(engine, task, code);	/* frees message, too */
	}
}

/*
 * The driver: room for answers
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
			end_running(engine, task, code);
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
	end_running(engine, task, CURLE_WRITE_ERROR);
}

static void
handle_room(Engine *engine)
{
	if (dlist_is_empty(&engine->paused))
		return;
	resume_paused(engine);
	evict_overdue(engine);
}

/* Milliseconds until libcurl's timer, or -1; rounded up, as coming early is of no use. */
static int
time_to_timer(Engine *engine)
{
	int			most = dlist_is_empty(&engine->paused) ? INT_MAX : LOOK_AT_ROOM;

	if (engine->deadline == NO_DEADLINE)
		return most == INT_MAX ? -1 : most;
	return (int) Min(Max(0, (engine->deadline - now_us() + 999) / 1000), most);
}

/* What was started becomes libcurl's; is there some?  If not, the caller is asked to say when there is. */
static bool
take_started(Engine *engine)
{
	dlist_head	tasks;
	bool		any;

	dlist_init(&tasks);
	lock(engine);
	move_all(&engine->started, &tasks);
	any = !dlist_is_empty(&tasks) || engine->stop || engine->room_returned;
	engine->room_returned = false;
	engine->driver_sleeps = !any;
	unlock(engine);
	while (!dlist_is_empty(&tasks))
		begin_or_wait(engine, dlist_container(EngineTask, node, dlist_pop_head_node(&tasks)));
	return any;
}

/* What libcurl has finished becomes the caller's; false if that was all. */
static bool
give_finished(Engine *engine)
{
	bool		wake;
	bool		stop;

	lock(engine);
	engine->driver_sleeps = false;
	wake = engine->threaded && engine->caller_sleeps && !dlist_is_empty(&engine->finished);
	if (wake)
		engine->caller_sleeps = false;
	move_all(&engine->finished, &engine->ended);
	stop = engine->stop;
	unlock(engine);
	if (wake)
		(void) eventfd_write(engine->caller_wake, 1);
	return !stop;
}

static void *
drive(void *arg)
{
	Engine	   *engine = arg;

	do
	{
		bool		any = take_started(engine);

		handle_sockets(engine, any ? 0 : time_to_timer(engine));
		handle_timer(engine);
		collect_finished(engine);
		handle_room(engine);
	} while (give_finished(engine));
	return NULL;
}

/*
 * The caller
 */

/*
 * No signal may arrive in a thread that is not PostgreSQL's: ours and libcurl's
 * resolver threads inherit the mask that is in force when they are started.
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

/* One round of the driver's work by the caller itself. */
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
	handle_room(engine);
	(void) give_finished(engine);
	restore_signals(&saved);
}

void
engine_start(Engine *engine, EngineTask *task)
{
	dlist_push_tail(&engine->starting, &task->node);
}

static void
give_starting(Engine *engine)
{
	bool		wake;

	if (dlist_is_empty(&engine->starting))
		return;
	lock(engine);
	move_all(&engine->starting, &engine->started);
	wake = engine->driver_sleeps;
	engine->driver_sleeps = false;
	unlock(engine);
	if (wake && engine->threaded)
		(void) eventfd_write(engine->driver_wake, 1);
}

/* Is there something for engine_next_ended()?  If not, the driver may be asked to say when there is. */
static bool
take_ended(Engine *engine, bool sleep)
{
	lock(engine);
	move_all(&engine->ended, &engine->taken);
	engine->caller_sleeps = sleep && dlist_is_empty(&engine->taken);
	unlock(engine);
	return !dlist_is_empty(&engine->taken);
}

void
engine_push(Engine *engine)
{
	give_starting(engine);
	if (!engine->threaded)
		drive_once(engine, false);
	(void) take_ended(engine, false);
}

EngineTask *
engine_next_ended(Engine *engine)
{
	if (dlist_is_empty(&engine->taken))
		return NULL;
	return dlist_container(EngineTask, node, dlist_pop_head_node(&engine->taken));
}

/* Whoever waits for room is told. */
void
engine_return_room(EngineTask *task)
{
	Engine	   *engine = task->engine;
	bool		wake;

	if (engine == NULL || !room_return(&engine->room, &task->share))
		return;
	lock(engine);
	engine->room_returned = true;
	wake = engine->driver_sleeps;
	engine->driver_sleeps = false;
	unlock(engine);
	if (wake && engine->threaded)
		(void) eventfd_write(engine->driver_wake, 1);
}

void
engine_cancel(Engine *engine, EngineTask *task)
{
	Assert(!engine->threaded);
	stop(engine, task);
	begin_waiting(engine, task->lane);
	begin_blocked(engine);
}

static long
wait_time(Engine *engine, int64 until)
{
	int64		end = until;

	if (!engine->threaded && engine->deadline != NO_DEADLINE && (end < 0 || engine->deadline < end))
		end = engine->deadline;
	if (!engine->threaded && !dlist_is_empty(&engine->paused))
		end = Min(end < 0 ? PG_INT64_MAX : end, now_us() + LOOK_AT_ROOM * 1000);
	if (end < 0)
		return -1;
	return (long) Min(Max(0, (end - now_us() + 999) / 1000), INT_MAX);
}

void
engine_wait(Engine *engine, long timeout_ms, uint32 wait_event)
{
	int64		until = timeout_ms < 0 ? -1 : now_us() + (int64) timeout_ms * 1000;
	bool		over = false;

	engine_push(engine);
	while (!take_ended(engine, true) && !over)
	{
		WaitEvent	event;
		int			n = WaitEventSetWait(engine->wait_set, wait_time(engine, until), &event, 1, wait_event);

		if (!engine->threaded)
			drive_once(engine, n > 0);	/* the latch hides the sockets; they must not starve */
		else if (n > 0 && event.events & WL_SOCKET_READABLE)
			take_wake(engine->caller_wake);
		over = (n > 0 && (event.events & WL_LATCH_SET)) ||
			(until >= 0 && now_us() >= until);
	}
}

/*
 * Its life
 */

/* Counted among the files that PostgreSQL may open. */
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
	lock(engine);
	engine->stop = true;
	unlock(engine);
	(void) eventfd_write(engine->driver_wake, 1);
	pthread_join(engine->thread, NULL);
	engine->threaded = false;
}

/* A process has one such engine at the most. */
static Engine *threaded_engine = NULL;

/* Nothing is begun any more when the session lock goes, which says that nobody else is at work. */
static void
stop_thread_at_exit(int code, Datum arg)
{
	if (threaded_engine)
		stop_thread(threaded_engine);
}

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
	if (pthread_create(&engine->thread, NULL, drive, engine) != 0)
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
	engine->max_running = Max(2, max_safe_fds / 3);	/* a connection may try two addresses at once */
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
		stop(engine, dlist_head_element(EngineTask, node, &engine->running));
	if (engine->multi)
		curl_multi_cleanup(engine->multi);
	if (engine->wait_set)
		FreeWaitEventSet(engine->wait_set);
	close_descriptor(&engine->epoll_fd);
	close_descriptor(&engine->driver_wake);
	close_descriptor(&engine->caller_wake);
	free(engine->sockets);
}
