/*-------------------------------------------------------------------------
 *
 * guard.h
 *		Other people's code and data, run so that its errors stay values.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_GUARD_H
#define MIXPEEK_GUARD_H

typedef void (*GuardedFunction) (void *arg);

/*
 * Runs function(arg) in a subtransaction.  Returns NULL if it succeeded, else
 * the error's message (and detail) in the current memory context, everything
 * it did being rolled back.  A cancel or a shutdown is not caught.
 */
extern char *guard_call(GuardedFunction function, void *arg);

/*
 * The same for what may take so many milliseconds; then it is cancelled, and that
 * is the problem.  sqlstate, if not NULL, is set to the error's SQLSTATE.
 */
extern char *guard_call_within(GuardedFunction function, void *arg, int milliseconds, int *sqlstate);

/* How often guard_call_within() has cancelled something in this process. */
extern int	guard_timeouts(void);

/*
 * Ends the process where what guard_call_within() has cancelled goes on for so many
 * milliseconds more: other people's code can catch a cancel.  -1, the default: never.
 */
extern void guard_set_grace(int milliseconds);

/*
 * What is done in between is not other people's: its time does not count for
 * guard_call_within(), and no cancel interrupts it.  May not raise.
 */
extern void guard_pause(void);
extern void guard_resume(void);

/* Ends the process if guard_end_deadline() is not called within so many milliseconds. */
extern void guard_begin_deadline(int milliseconds);
extern void guard_end_deadline(void);

#endif							/* MIXPEEK_GUARD_H */
