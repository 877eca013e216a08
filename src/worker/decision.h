/*-------------------------------------------------------------------------
 *
 * decision.h
 *		A prepared job's first decision: what it must send, or that it has ended.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_DECISION_H
#define MIXPEEK_DECISION_H

#include "state/job.h"
#include "worker/forward.h"

/* Seconds after which what cannot be done now, for want of a server, is tried again. */
#define PROBLEM_DELAY	60

/*
 * Decide what a job must send, and make the parts of its requests.  Returns true if the
 * job is to be recorded and queued; otherwise it has ended or is freed.  In a claim.
 */
extern bool decision_make(Worker *worker, Job *job);

/* Check whether what is stored about a job's key is of another place than its account's server leads to. */
extern bool decision_is_elsewhere(const Job *job);

/* Count the attempt that a job's request will be. */
extern void decision_count_attempt(Job *job);

/*
 * Put a job, which is on record, into its account's queue; or end it, where what
 * decision_make() found out says so.
 */
extern void decision_queue(Worker *worker, Job *job);

#endif							/* MIXPEEK_DECISION_H */
