/*-------------------------------------------------------------------------
 *
 * origin_check.h
 *		Whether this database may change the documents of its origin.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_ORIGIN_CHECK_H
#define MIXPEEK_ORIGIN_CHECK_H

#include "worker/forward.h"

typedef struct OriginCheck
{
	char	   *copy_of;		/* why this database may not, in words; NULL:
								 * it may */
	bool		reported;		/* that was logged */
	char	   *id;				/* the origin, as markers begin; NULL: none
								 * yet */
	char	   *former_ids;		/* what it was before; NULL: none */
	char	   *incarnation;	/* see state/witness.h; NULL: none yet */
} OriginCheck;

/*
 * Check whether the database is the place of its origin, or a copy; and take over an
 * origin that has changed.  A restore or mixpeek.adopt() may do so at any time, so each
 * claim begins with it.  In a transaction.
 */
extern bool origin_check_pass(Worker *worker);

/* Note that a transaction was flushed after which requests are sent: see state/witness.h. */
extern void origin_check_note_flush(Worker *worker);

/* Check whether a marker is of an origin that this database had before mixpeek.adopt(origin => ...). */
extern bool origin_check_was_ours(const Worker *worker, const char *marker);

/* Log it once if the database is a copy. */
extern void origin_check_report(Worker *worker);

/* Have the next claim check a database again that is known as a copy. */
extern void origin_check_again(Worker *worker);

#endif							/* MIXPEEK_ORIGIN_CHECK_H */
