/*-------------------------------------------------------------------------
 *
 * guard.h
 *		Running users' code so that its errors become values.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_GUARD_H
#define MIXPEEK_GUARD_H

typedef void (*GuardedFunction) (void *arg);

/*
 * Run function(arg) in a subtransaction.  Returns NULL if it succeeded.  If it raised an error,
 * everything that it did is rolled back, and the error's message and detail are returned, in
 * the current memory context.  A cancel request and a shutdown are not caught.
 */
extern char *guard_call(GuardedFunction function, void *arg);

/*
 * Do the same, but cancel the function after so many milliseconds and return a message that says
 * so.  *sqlstate, if sqlstate is not NULL, is set to the error's SQLSTATE.
 */
extern char *guard_call_within(GuardedFunction function, void *arg, int milliseconds, int *sqlstate);

/* Return how often guard_call_within() has cancelled a function in this process. */
extern int	guard_timeouts(void);

/*
 * Terminate the process if a function that guard_call_within() has cancelled continues for so many
 * milliseconds, because users' code can catch a cancel.  -1, the default, means never.
 */
extern void guard_set_grace(int milliseconds);

/*
 * Exclude the code between the two calls from the time limit of guard_call_within(), and hold off
 * cancel requests.  The code must not raise errors.
 */
extern void guard_pause(void);
extern void guard_resume(void);

/* Terminate the process if guard_end_deadline() is not called within so many milliseconds. */
extern void guard_begin_deadline(int milliseconds);
extern void guard_end_deadline(void);

#endif							/* MIXPEEK_GUARD_H */
