/*-------------------------------------------------------------------------
 *
 * request.h
 *		Requests of jobs: sent as their accounts allow, and their answers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_REQUEST_H
#define MIXPEEK_REQUEST_H

#include "remote/answer.h"
#include "state/job.h"
#include "worker/forward.h"
#include "worker/account.h"

typedef struct Requests
{
	int			running;		/* under way */
	Throttle   *starting;		/* of the request that is being started, or
								 * NULL; for recovery.c */
	HttpTransfer *collecting;	/* whose answer is being taken, or NULL */
} Requests;

/* One request: of one job, or for several jobs of one collection at once. */
struct Request
{
	Account    *account;
	JobStep		step;
	ThrottleMark mark;			/* of the account's throttle */
	bool		counted;		/* the throttle knows that it has ended */
	int			njobs;
	Job		   *jobs[FLEXIBLE_ARRAY_MEMBER];
};

/*
 * Send the queued jobs' requests, as many as the accounts allow.  Returns the seconds
 * until another may start, or -1 if that depends on an answer or none is queued.
 */
extern double request_send_ready(Worker *worker);

/* Return what the mirror of a job has sent of its document. */
extern SentNames request_sent_names(const Job *job);

/* Put a job in front of its account's queue, for its next request. */
extern void request_requeue(Job *job);

/*
 * Take the answers that have come.  An error that one of them raises makes its request
 * one without a readable answer, and concerns no other.
 */
extern void request_collect(Worker *worker);

#endif							/* MIXPEEK_REQUEST_H */
