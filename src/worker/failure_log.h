/*-------------------------------------------------------------------------
 *
 * failure_log.h
 *		One log line for each kind of failure, with the number of failures.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_FAILURE_LOG_H
#define MIXPEEK_FAILURE_LOG_H

typedef struct FailureLog FailureLog;

/* Return a new log in the current memory context. */
extern FailureLog *failure_log_create(void);

/*
 * Count a document that failed for this reason or, if repeated is true, an attempt
 * that failed and will be repeated.  The reason is written to the log, so it must not
 * contain text from the API.
 */
extern void failure_log_count(FailureLog *log, const char *reason, bool repeated);

/*
 * Write the lines that are due.  The first line of a kind is due when the worker is
 * idle or ten seconds have passed, the next one after a minute.  Return the seconds
 * until the next line is due, or -1 if there is none.
 */
extern double failure_log_write(FailureLog *log, double now, bool idle);

#endif							/* MIXPEEK_FAILURE_LOG_H */
