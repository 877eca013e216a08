/*-------------------------------------------------------------------------
 *
 * tally.h
 *		One log line a kind of failure, with how often it happened.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_TALLY_H
#define MIXPEEK_TALLY_H

typedef struct Tally Tally;

/* In the current memory context. */
extern Tally *tally_create(void);

/*
 * A document has failed for this reason, or an attempt has and will be repeated.  The reason goes into the
 * log: it is in our words, and has nothing that the other side says.
 */
extern void tally_count(Tally *tally, const char *reason, bool repeated);

/*
 * Logs what it is time for.  A kind's first line waits until the worker is idle, but
 * not for long, and the next one for a minute.  Returns the seconds until there is
 * more to log, -1 if there is nothing.
 */
extern double tally_log(Tally *tally, double now, bool idle);

#endif							/* MIXPEEK_TALLY_H */
