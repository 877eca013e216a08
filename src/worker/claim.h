/*-------------------------------------------------------------------------
 *
 * claim.h
 *		From dirty and due keys to jobs with an intent on record.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_CLAIM_H
#define MIXPEEK_CLAIM_H

#include "state/job.h"
#include "worker/forward.h"

/*
 * Take keys out of the outbox, and due ones of mixpeek.documents, as many as the
 * accounts will take soon; read their rows, record what will be sent, and queue the
 * jobs.  In a transaction of its own.
 */
extern void claim_next(Worker *worker);

/*
 * Free a job that cannot go on now.  Its entries and its due record stay, and are
 * retried when its mirror takes keys again, or (busy) when some job has ended.
 */
extern void claim_leave_job(Worker *worker, Job *job, bool busy);

#endif							/* MIXPEEK_CLAIM_H */
