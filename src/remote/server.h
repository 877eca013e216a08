/*-------------------------------------------------------------------------
 *
 * server.h
 *		Where the API is and with which key: foreign servers and user mappings.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_SERVER_H
#define MIXPEEK_SERVER_H

/*
 * What a request needs to know of the other side.  All strings live in the
 * memory context that was current when mixpeek_server_get() was called.
 */
typedef struct MixpeekServer
{
	Oid			serverid;		/* pg_foreign_server */
	Oid			userid;			/* whose user mapping api_key is from;
								 * InvalidOid: that of PUBLIC */
	char	   *name;			/* the foreign server's name */
	char	   *base_url;		/* scheme://host[:port][/path], no slash at
								 * the end */
	char	   *namespace;		/* X-Namespace, or NULL */
	char	   *api_key;		/* secret: into the Authorization header,
								 * nowhere else */
	char	   *pinned_url;		/* the mapping's base_url: the only one that
								 * may get the key; or NULL */
	char	   *ca_file;		/* PEM bundle, or NULL for the system's */
	int			connect_timeout;	/* milliseconds */
	int			request_timeout;	/* milliseconds, whole request from its
									 * start */
	int			max_connections;	/* requests at once */
	double		requests_per_minute;	/* 0: only what the answers' headers
										 * say */
	bool		create_unfindable;	/* if_unfindable 'create': see documents.c */
} MixpeekServer;

/*
 * Returns the server "name" with the mapping of "userid" (or of PUBLIC).
 * Raises ERRCODE_UNDEFINED_OBJECT (no such server, or no mapping),
 * ERRCODE_WRONG_OBJECT_TYPE (another wrapper's server) and
 * ERRCODE_INSUFFICIENT_PRIVILEGE (userid has no USAGE on it, or the mapping's key is
 * for another base_url).  Must run in a
 * transaction.
 */
extern MixpeekServer *mixpeek_server_get(const char *name, Oid userid);

/* Setting mixpeek.allow_http: may other machines be asked by plain http? */
extern bool mixpeek_allow_http;

#endif							/* MIXPEEK_SERVER_H */
