/*-------------------------------------------------------------------------
 *
 * recovery.h
 *		Errors that end a part of the worker's work, and not the worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_RECOVERY_H
#define MIXPEEK_RECOVERY_H

#include "nodes/pg_list.h"
#include "worker/forward.h"

typedef struct Recovery
{
	MemoryContext context;		/* of the texts of the last error: */
	char	   *error;
	char	   *hint;			/* or NULL */
	bool		had_error;		/* check whether the extension still exists */

	/* what the worker is busy with, if it is known */
	Oid			current_table;	/* or InvalidOid */
	List	   *settling;		/* jobs of the transaction that settles */

	/* what an error changes */
	Oid			blamed;			/* table to be set aside, or InvalidOid */
	int			careful_claims; /* so many claims are to be of one key */
	int			careful_settles;	/* so many outcomes are to be stored one
									 * by one */
	double		rest;			/* length of the last pause, in seconds; 0: no
								 * error since */
	double		rest_until;		/* the worker pauses until then */

	/* records of a worker before this one that are still "sending" */
	bool		abandoned;
	bool		abandoned_before;	/* the same at the start of the
									 * transaction */
} Recovery;

typedef void (*WorkerPart) (Worker *worker);

/* Initialize the state; the records of a worker before this one are to be taken over. */
extern void recovery_init(Worker *worker);

/*
 * Run a part of a turn.  Returns false if it raised an error: then its transaction is
 * rolled back, each job is where it was, or ends as pending, and what caused the error
 * waits: the table that the worker was busy with, the job that could not be settled, or
 * else the whole worker.  A shutdown is not caught.
 */
extern bool recovery_run(Worker *worker, WorkerPart part);

/* Run a part that concerns one answer, or only answers sessions: after an error of it nothing has to wait. */
extern bool recovery_run_lightly(Worker *worker, WorkerPart part);

/* Put each job into the one place where it belongs, wherever an error came from. */
extern void recovery_place_jobs(Worker *worker);

/* Set aside the table that an error came from, in the transaction of the next claim. */
extern void recovery_begin_claim(Worker *worker);

/*
 * Note that the worker is busy with keys of several tables: which of them an error comes
 * from is not known, unless the claim has but one key.
 */
extern void recovery_work_on_many(Worker *worker);

/* Note that a transaction that claims or settles was committed. */
extern void recovery_note_success(Worker *worker);

/*
 * Set aside the table that the process before this one died at (aside.h).  In a
 * transaction of its own.
 */
extern void recovery_recall(Worker *worker);

/*
 * Make the records pending that the worker before this one left as "sending".  Its requests may
 * still be at work on the other side for as long as their server's request_timeout.  In a claim.
 */
extern void recovery_take_over(Worker *worker);

#endif							/* MIXPEEK_RECOVERY_H */
