/*-------------------------------------------------------------------------
 *
 * sockets.h
 *		The engine's sockets: libcurl's callbacks, and what epoll watches.
 *
 * Only the driver of an engine calls these functions.  They neither raise errors nor
 * take memory from a context.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_SOCKETS_H
#define MIXPEEK_SOCKETS_H

#include "remote/engine_internal.h"

/* Return the entry of a descriptor, or NULL if there is no memory.  Valid until the next call. */
extern EngineSocket *socket_entry(Engine *engine, int fd);

/* Make epoll report the events that the entry wants; return whether it could. */
extern bool socket_watch(Engine *engine, int fd, EngineSocket *entry);

/*
 * libcurl's callbacks: CURLMOPT_SOCKETFUNCTION and CURLOPT_CLOSESOCKETFUNCTION, whose arg
 * is the engine, and CURLOPT_OPENSOCKETFUNCTION, whose arg is the task.  If there is no
 * descriptor for the task's socket, socket_open() sets its no_socket.
 */
extern int	socket_watch_callback(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused);
extern curl_socket_t socket_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address);
extern int	socket_close(void *arg, curl_socket_t fd);

#endif							/* MIXPEEK_SOCKETS_H */
