/*-------------------------------------------------------------------------
 *
 * server.h
 *		Where the API is and with which key: foreign servers and user mappings.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_SERVER_H
#define MIXPEEK_SERVER_H

#include "nodes/pg_list.h"

/* The API's contract that a server keeps to, in the order of their dates. */
typedef enum ServerContract
{
	CONTRACT_UNKNOWN,
	CONTRACT_2025_09,
	CONTRACT_2026_02,
	CONTRACT_2026_10
} ServerContract;

/*
 * A foreign server and one user mapping: what a request needs.  All strings are in the memory
 * context that was current when mixpeek_server_get() was called.
 */
typedef struct MixpeekServer
{
	Oid			serverid;		/* pg_foreign_server */
	Oid			userid;			/* of the user mapping; InvalidOid: that of
								 * PUBLIC */
	char	   *name;			/* the foreign server's name */
	char	   *base_url;		/* scheme://host[:port][/path], in the form of
								 * normalize_base_url() */
	char	   *namespace;		/* X-Namespace, or NULL */
	char	   *api_key;		/* secret: only for the Authorization header */
	char	   *pinned_url;		/* the mapping's base_url, the only one that
								 * the key may be sent to; or NULL */
	char	   *ca_file;		/* PEM bundle, or NULL for the system's */
	int			connect_timeout;	/* milliseconds */
	int			request_timeout;	/* milliseconds from the start of a
									 * request to the end of its answer */
	int			max_connections;	/* most requests at once */
	double		requests_per_minute;	/* 0: bounded by the answers' headers
										 * only */
	bool		create_unfindable;	/* if_unfindable is 'create': see lookup.c */
	ServerContract contract;	/* what the option says */
	int64		place;			/* of the documents: server_place() of
								 * base_url and namespace */
} MixpeekServer;

/*
 * Return the server "name" with the mapping of "userid", or of PUBLIC if it has none, in the
 * current memory context.  Must run in a transaction.  Raises ERRCODE_UNDEFINED_OBJECT (no
 * such server or no mapping), ERRCODE_WRONG_OBJECT_TYPE (another wrapper's server) and
 * ERRCODE_INSUFFICIENT_PRIVILEGE (userid has no USAGE on it, or the key is pinned to another
 * base_url).
 */
extern MixpeekServer *mixpeek_server_get(const char *name, Oid userid);

/*
 * Return a number for the place where the documents of a server are: a hash of its base_url, as it is
 * used, and its namespace (NULL: none).  It is the same on all machines.
 */
extern int64 server_place(const char *base_url, const char *namespace);

/* Where a server of the wrapper leads to. */
typedef struct ServerPlace
{
	char	   *name;			/* of the server */
	char	   *base_url;
	char	   *namespace;		/* or NULL */
	int64		place;
	int			request_timeout;	/* milliseconds */
} ServerPlace;

/*
 * Return where all servers lead to whose options are valid, as a List of ServerPlace.  Must be called
 * in a transaction.
 */
extern List *server_list_places(void);

#endif							/* MIXPEEK_SERVER_H */
