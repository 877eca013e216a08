/*-------------------------------------------------------------------------
 *
 * witness.h
 *		A file outside of the data directory that tells whether it went back to
 *		an earlier time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_WITNESS_H
#define MIXPEEK_WITNESS_H

#include "access/xlogdefs.h"

typedef enum WitnessVerdict
{
	WITNESS_SILENT,				/* there is none, or it knows nothing of the
								 * database */
	WITNESS_CONFIRMS,
	WITNESS_DENIES				/* the data directory went back to an earlier
								 * time */
} WitnessVerdict;

/*
 * Ask the witness about the database whose row of mixpeek.origin has this incarnation and replaces
 * those, with spaces between.  Must be called in a transaction, and not in recovery.
 */
extern WitnessVerdict witness_ask(const char *incarnation, const char *replaces);

/*
 * Return the incarnation that the witness has seen last, palloc'd; NULL if there is no witness.
 */
extern char *witness_incarnation(void);

/*
 * Tell the witness that this incarnation has flushed its WAL up to here.  Failures are ignored: they
 * cost only the information.  To be called by the worker only, and without memory to be kept.
 */
extern void witness_note(const char *incarnation, XLogRecPtr flushed);

/* Remove the witnesses of a database that was dropped. */
extern void witness_forget(Oid database);

#endif							/* MIXPEEK_WITNESS_H */
