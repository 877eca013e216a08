/*-------------------------------------------------------------------------
 *
 * outcome.c
 *		What an answer means for a job: its next request, another attempt, or its end.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <math.h>

#include "base/clock.h"
#include "base/settings.h"
#include "state/owed.h"
#include "utils/timestamp.h"
#include "worker/outcome.h"
#include "worker/request.h"
#include "worker/worker.h"

/* A job that needs more answers than this goes in circles. */
#define MAX_STEPS		8

/* Keys to be looked up become due together, every so many microseconds, so that one request asks for many. */
#define LOOKUP_TICK		(USECS_PER_SEC / 2)

char *
outcome_text(const Response *response)
{
	return response->detail ? psprintf("%s: %s", response->message, response->detail) : response->message;
}

/*
 * Another attempt
 */

/*
 * Choose the time of the next attempt: exponential with full jitter, and not before so many
 * seconds, as long as the server may still be at work on the last request.
 */
static void
set_next_attempt(Job *job, double rest)
{
	double		cap = Min(mixpeek_retry_max_delay, ldexp(1.0, Min(job->attempts - 1, 20)));
	double		delay = cap * (0.1 + 0.9 * COMPAT_RANDOM());

	delay = Max(delay, rest);	/* Max() evaluates its arguments twice, so it
								 * must not get the random number */
	job->next_attempt_at = clock_in((int64) (delay * 1000));
	if (job->in_doubt || job->must_look_up)
		job->next_attempt_at += LOOKUP_TICK - job->next_attempt_at % LOOKUP_TICK;
}

/* End a poll that did not work out.  The document is mirrored, so this is no error. */
static void
end_poll(Worker *worker, Job *job)
{
	job->must_look_up = false;
	jobs_end(worker, job, OUTCOME_MIRRORED, NULL);
}

void
outcome_put_off(Worker *worker, Job *job, double seconds, const char *error)
{
	if (job->refresh)
	{
		end_poll(worker, job);
		return;
	}
	job->attempts--;
	set_next_attempt(job, seconds);
	jobs_end(worker, job, OUTCOME_PENDING, error);
}

void
outcome_put_off_ready(Worker *worker, Account *account, double seconds, const char *error)
{
	while (!dlist_is_empty(&account->ready))
	{
		Job		   *job = dlist_container(Job, node, dlist_pop_head_node(&account->ready));

		account->nready--;
		outcome_put_off(worker, job, seconds, error);
	}
}

/*
 * Return for how many seconds the server may still be at work on a request that we or a gateway
 * gave up: it may have received it just before.
 */
static double
rest_after(const Job *job, const HttpAnswer *answer)
{
	double		timeout = job->account->server ?
		job->account->server->request_timeout / 1000.0 : 30.0;

	return status_has(answer, STATUS_MAY_CONTINUE) ? timeout : 0;
}

/* Note what is not known any more after a request that was perhaps done. */
static void
note_unsure(Job *job, JobStep step)
{
	MemoryContext old = MemoryContextSwitchTo(job->context);

	if (step == JOB_CREATE)
	{
		job->in_doubt = true;
		job->intent_content = job->content_hash;
		job->intent_features = job->features_hash;
	}
	/* an update will tell whether the document is still there */
	if (step == JOB_UPDATE || (step == JOB_DELETE && job->replaced_id == NULL))
		job->sent_content.known = false;
	if (step == JOB_CREATE || step == JOB_UPDATE)
		job->fields = job_possible_fields(job);
	MemoryContextSwitchTo(old);
}

/* Handle a request that was not done, or perhaps was done: its key is tried again. */
static void
retry_later(Worker *worker, Job *job, JobStep step, const HttpAnswer *answer, const Response *response)
{
	bool		outage = status_has(answer, STATUS_OUTAGE);

	if (response->verdict == VERDICT_UNSURE)
		note_unsure(job, step);
	if (status_has(answer, STATUS_OURS))
		outcome_put_off(worker, job, rest_after(job, answer), outcome_text(response));
	else if (job->account->throttle.down && outage)
		outcome_put_off(worker, job, Max(rest_after(job, answer),
										 job->account->throttle.down_until - clock_seconds()),
						outcome_text(response));
	else if (job->attempts >= mixpeek_max_attempts)
	{
		failure_log_count(worker->failure_log, response->reason, false);
		job->next_attempt_at = clock_in((int64) (rest_after(job, answer) * 1000));
		jobs_end(worker, job, OUTCOME_FAILED, outcome_text(response));
	}
	else
	{
		failure_log_count(worker->failure_log, response->reason, true);
		set_next_attempt(job, Max(rest_after(job, answer), answer->retry_after));
		jobs_end(worker, job, OUTCOME_PENDING, outcome_text(response));
	}
}

/*
 * An answer
 */

/* End a job whose key is to be claimed again at once; this counts as no attempt. */
static void
claim_again(Worker *worker, Job *job, const char *error)
{
	job->next_attempt_at = clock_now();
	jobs_end(worker, job, OUTCOME_PENDING, error);
}

void
outcome_replace_next(Worker *worker, Job *job)
{
	job->account->fields_stay = true;
	job->attempts--;
	claim_again(worker, job, "a field that is not sent any more can only be removed with the document: it will be replaced");
}

void
outcome_proceed(Worker *worker, Job *job)
{
	job->nsteps++;
	if (job_next_step(job) != JOB_END && job->nsteps < MAX_STEPS)
		request_requeue(job);
	else if (job_next_step(job) != JOB_END)
		jobs_end(worker, job, OUTCOME_FAILED,
				 "the document vanishes again each time it is created");
	else if (job->document_id == NULL && !job->refresh)
		jobs_end(worker, job, OUTCOME_FORGOTTEN, NULL);
	else if (job->document_id == NULL)
	{
		failure_log_count(worker->failure_log, "the document is gone at the API", true);
		claim_again(worker, job, "the document is gone at the API: it will be created again");
	}
	else
	{
		job->attempts = 0;
		jobs_end(worker, job, OUTCOME_MIRRORED, job->unkept);
	}
}

void
outcome_take_document(Worker *worker, Job *job, const AnswerDocument *document)
{
	size_t		before = job_bytes_kept(job);

	job_take_document(job, document);
	jobs_count_kept(worker, job, before);
	if (job->found_other && job_must_replace(job))
	{
		/*
		 * If the next create were lost as well, there would be two documents
		 * that the record does not name.
		 */
		job->attempts--;
		claim_again(worker, job, "the document was found, and will be replaced");
		return;
	}
	if (owed_has_job(job) && job->document_id)
	{
		/*
		 * It may be the document of another record by now.  The next claim
		 * checks that; see owed_jobs_drop_wanted().
		 */
		job->next_attempt_at = clock_now();
		jobs_end(worker, job, OUTCOME_PENDING, NULL);
		return;
	}
	outcome_proceed(worker, job);
}

/* Handle status 429: the throttle knows when the request may be repeated. */
static void
wait_for_throttle(Worker *worker, Job *job, const Response *response)
{
	double		wait = job->account->throttle.blocked_until - clock_seconds();

	if (wait <= SYNC_PATIENCE)
	{
		request_requeue(job);
		return;
	}
	outcome_put_off_ready(worker, job->account, wait, outcome_text(response));
	outcome_put_off(worker, job, wait, outcome_text(response));
}

void
outcome_take_failure(Worker *worker, Job *job, JobStep step, const HttpAnswer *answer, const Response *response)
{
	if (response->verdict == VERDICT_SLOW_DOWN)
		wait_for_throttle(worker, job, response);
	else if (job->refresh && step == JOB_LOOK_UP &&
			 (response->verdict == VERDICT_REFUSED || response->verdict == VERDICT_GONE))
		outcome_take_document(worker, job, NULL);
	else if (job->refresh)
		end_poll(worker, job);
	else if (step == JOB_UPDATE && response->verdict == VERDICT_REFUSED && job_has_old_fields(job) &&
			 (answer->status == 400 || answer->status == 422))
		outcome_replace_next(worker, job);	/* it may be the nulls that are
											 * refused */
	else if (response->verdict == VERDICT_REFUSED || response->verdict == VERDICT_GONE)
	{
		failure_log_count(worker->failure_log, response->reason, false);
		jobs_end(worker, job, OUTCOME_FAILED, step == JOB_LOOK_UP ?
				 psprintf("could not ask for the document by its marker, so it was not created: %s",
						  outcome_text(response)) :
				 outcome_text(response));
	}
	else
		retry_later(worker, job, step, answer, response);
}
