/*-------------------------------------------------------------------------
 *
 * sockets.c
 *		The engine's sockets: libcurl's callbacks, and what epoll watches.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "remote/sockets.h"

EngineSocket *
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

bool
socket_watch(Engine *engine, int fd, EngineSocket *entry)
{
	struct epoll_event event = {.events = entry->wanted,.data.fd = fd};
	int			rc;

	if (entry->wanted == entry->watched)
		return true;
	if (entry->wanted == 0)
	{
		/*
		 * fails if the descriptor was closed: epoll then does not watch it
		 * any more
		 */
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
 * Note the events that libcurl waits for, and tell epoll.  An idle connection stays in epoll, as
 * its next request usually follows at once: that saves two system calls a request, and is safe
 * for sockets that socket_close() closes.
 */
int
socket_watch_callback(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
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
	return socket_watch(engine, fd, entry) ? 0 : -1;
}

/* Create a socket; return its descriptor, or -1 and set errno. */
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

curl_socket_t
socket_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
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

int
socket_close(void *arg, curl_socket_t fd)
{
	Engine	   *engine = arg;

	if (fd < engine->nsockets)
		memset(&engine->sockets[fd], 0, sizeof(EngineSocket));
	engine->nopen--;
	return close(fd);
}
