/*-------------------------------------------------------------------------
 *
 * crash.h
 *		What a process leaves for the one after it, should it die at its work.
 *
 * Of a process that has called crash_open(); in others these functions do nothing.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_CRASH_H
#define MIXPEEK_CRASH_H

/* The worker's place in its database's file, and how many there are: agents take the others. */
#define CRASH_WORKER	0
#define CRASH_SLOTS		16

/* How a process has ended that left a note. */
typedef enum CrashEnd
{
	CRASH_KILLED,				/* without a trace: kill -9, out of memory */
	CRASH_SIGNALLED,			/* by a fault of its own */
	CRASH_FAILED,				/* with an error */
} CrashEnd;

typedef struct CrashNote
{
	Oid			relation;		/* InvalidOid: none */
	CrashEnd	end;
	int			signal;			/* of CRASH_SIGNALLED */
} CrashNote;

/*
 * Opens the database's file, and has this process' end recorded in it.  The worker
 * sets its clock going, too.  Needs nothing but a process that is set up; may be
 * called again.
 */
extern void crash_open(Oid database, int slot);

/* A handler for SIGTERM: die(), and the end is not one that counts. */
extern void crash_die(SIGNAL_ARGS);

/*
 * What is done until crash_note_clear() is done for this table.  crash_note() costs
 * nothing, and says so after a fault of the process' own; crash_note_stored() costs a
 * microsecond, and says so after kill -9 as well.
 */
extern void crash_note(Oid relation);
extern void crash_note_stored(Oid relation);
extern void crash_note_clear(void);
extern Oid	crash_noted(void);

/* The notes that processes before this one have died with; there may be none. */
extern CrashNote crash_recall(int slot);
extern void crash_recalled(void);	/* they are known elsewhere now, for good */

/* Keeps what the next process' clock shall start with. */
extern void crash_keep_clock(int64 offset);

/* Seconds before another worker is started after what happened to those before it. */
extern double crash_start_delay(Oid database);

/* The database is no more. */
extern void crash_forget(Oid database);

#endif							/* MIXPEEK_CRASH_H */
