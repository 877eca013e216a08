/*-------------------------------------------------------------------------
 *
 * failure_log.h
 *		One log line a kind of failure, with how often it happened.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_FAILURE_LOG_H
#define MIXPEEK_FAILURE_LOG_H

typedef struct FailureLog FailureLog;

/* In the current memory context. */
extern FailureLog *failure_log_create(void);

/*
 * A document has failed for this reason, or an attempt has and will be repeated.  The reason goes into the
 * log: it is in our words, and has nothing that the other side says.
 */
extern void failure_log_count(FailureLog *log, const char *reason, bool repeated);

/*
 * Logs what it is time for.  A kind's first line waits until the worker is idle, but
 * not for long, and the next one for a minute.  Returns the seconds until there is
 * more to log, -1 if there is nothing.
 */
extern double failure_log_write(FailureLog *log, double now, bool idle);

#endif							/* MIXPEEK_FAILURE_LOG_H */
