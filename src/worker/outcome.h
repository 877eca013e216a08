/*-------------------------------------------------------------------------
 *
 * outcome.h
 *		What an answer means for a job: its next request, another attempt, or its end.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_OUTCOME_H
#define MIXPEEK_OUTCOME_H

#include "remote/response.h"
#include "state/job.h"
#include "worker/account.h"
#include "worker/forward.h"

/* mixpeek.sync() waits for keys that are due within so many seconds. */
#define SYNC_PATIENCE	5

/* Return a failure's message with its detail, in the current memory context. */
extern char *outcome_text(const Response *response);

/* The answer was taken in: the job's next request is queued, or the job ends. */
extern void outcome_proceed(Worker *worker, Job *job);

/*
 * An update has shown that the document keeps root-level fields that are not sent any more: its key is
 * claimed again, to replace the document.  The create needs an intent of its own.
 */
extern void outcome_replace_next(Worker *worker, Job *job);

/* A look-up was answered: with the document that has the job's marker, or NULL. */
extern void outcome_take_document(Worker *worker, Job *job, const AnswerDocument *document);

/* The request of a step failed, as response says. */
extern void outcome_take_failure(Worker *worker, Job *job, JobStep step,
								 const HttpAnswer *answer, const Response *response);

/*
 * Put a job off for so many seconds at least, without counting the attempt: what failed
 * was not its request.  outcome_put_off_ready() does so with an account's queued jobs.
 */
extern void outcome_put_off(Worker *worker, Job *job, double seconds, const char *error);
extern void outcome_put_off_ready(Worker *worker, Account *account, double seconds, const char *error);

#endif							/* MIXPEEK_OUTCOME_H */
