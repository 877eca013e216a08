/*-------------------------------------------------------------------------
 *
 * account.h
 *		A server as one owner uses it: one API key, one set of limits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_ACCOUNT_H
#define MIXPEEK_ACCOUNT_H

#include "datatype/timestamp.h"
#include "lib/ilist.h"
#include "worker/throttle.h"

/* Seconds until a server that cannot be used is tried again. */
#define RETRY_PROBLEM	60

/* Most markers that one look-up asks for; a page of the API's list holds up to 1000 documents. */
#define LOOKUP_BATCH	100

/* How many keys go into one request of a kind. */
typedef struct Batch
{
	int			size;			/* most keys of the next request */
	bool		works;			/* a request of this kind was answered */
	bool		refused;		/* a request for a single key was refused, and
								 * none was answered before */
} Batch;

typedef struct Account
{
	char	   *name;			/* the foreign server's */
	Oid			owner;
	bool		valid;			/* false: to be loaded again */
	bool		altered;		/* a statement has changed this server since
								 * it was loaded */
	uint32		server_hash;	/* by which invalidation messages name it */
	MemoryContext context;		/* of server and problem */
	MixpeekServer *server;		/* NULL: it cannot be used, see problem */
	char	   *problem;
	bool		problem_reported;	/* problem is in the log */
	double		retry_at;		/* when a server with a problem is loaded
								 * again */
	Throttle	throttle;
	dlist_head	ready;			/* jobs whose next request may be sent */
	int			nready;
	int			claimed;		/* jobs that are not settled yet */
	size_t		bytes;			/* of these jobs' rendered documents */
	bool		full;			/* a row was left because its document did not
								 * fit beside them */
	double		mean_bytes;		/* of the last documents; an estimate of how
								 * many rows fit into the room that is left */
	Batch		lookups;
	bool		fields_stay;	/* an update with null does not remove a field
								 * at the root */
	bool		excluded;		/* keys were left because the server could not
								 * take more */
	bool		hurries;		/* pending keys are to be made due at once,
								 * since the server has changed */
	TimestampTz hurry_position; /* up to this due time it was done */
	int			hurry_batch;	/* records to be read next */
	char	   *setback;		/* message of the last failure that stopped
								 * other requests, or NULL */
} Account;

/* Return a new account in the current memory context.  It is not loaded yet. */
extern Account *account_create(const char *server, Oid owner);

/* Check whether the account must be loaded before it is used: it is invalid, or the time to retry has come. */
extern bool account_needs_load(const Account *account);

/*
 * Load the server's options and the owner's API key into a new child of parent.
 * An error becomes the account's problem.  What was learned about the server's
 * limits is kept unless its options or key have changed.  Must be called in a
 * transaction.
 */
extern void account_load(Account *account, MemoryContext parent);

/*
 * Note that the definition of a server, user mapping or role has changed.
 * server_hash says which server was altered; 0: any may be affected.  Must not
 * raise an error.
 */
extern void account_invalidate(Account *account, uint32 server_hash);

/*
 * Log the account's problem, once, and schedule the next attempt to load it.
 * To be called when a key was found that needs the account.
 */
extern void account_report_problem(Account *account);

#endif							/* MIXPEEK_ACCOUNT_H */
