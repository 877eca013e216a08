/*-------------------------------------------------------------------------
 *
 * crash.h
 *		What a process records for its successor in case it crashes.
 *
 * Without a call of crash_open() these functions do nothing, except
 * crash_start_delay(), crash_has_file() and crash_forget(), which are the launcher's.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_CRASH_H
#define MIXPEEK_CRASH_H

/* The worker's slot in its database's file, and the number of slots: agents use the others. */
#define CRASH_WORKER	0
#define CRASH_SLOTS		16

/* How the process ended that left a note. */
typedef enum CrashEnd
{
	CRASH_KILLED,				/* by SIGKILL, for example when out of memory */
	CRASH_SIGNALLED,			/* by a signal that it caused itself */
	CRASH_FAILED,				/* with an error */
} CrashEnd;

typedef struct CrashNote
{
	Oid			relation;		/* InvalidOid: none */
	CrashEnd	end;
	int			signal;			/* of CRASH_SIGNALLED */
} CrashNote;

/*
 * Open the database's file, and arrange for the end of this process to be recorded in it.  The
 * worker also starts its clock.  May be called without a transaction, and more than once.
 */
extern void crash_open(Oid database, int slot);

/* Handler for SIGTERM: like die(), but the end of the process is not recorded as a failure. */
extern void crash_die(SIGNAL_ARGS);

/*
 * Note the table that is being worked on, until crash_note_clear().  A note of crash_note() costs
 * nothing, and is stored if the process gets a fatal signal or ends with an error;
 * crash_note_stored() writes to the file at once, which takes a microsecond, and survives SIGKILL.
 */
extern void crash_note(Oid relation);
extern void crash_note_stored(Oid relation);
extern void crash_note_clear(void);

/* Return the table that is noted; InvalidOid if there is none. */
extern Oid	crash_noted(void);

/* Return the note that the previous process of a slot has left. */
extern CrashNote crash_recall(int slot);

/* Remove these notes from the file, once they are stored elsewhere. */
extern void crash_recalled(void);

/* Store the offset of the clock for the next worker. */
extern void crash_keep_clock(int64 offset);

/* Return the seconds to wait before the next worker is started; more after several crashes in a row. */
extern double crash_start_delay(Oid database);

/* Check whether the database has a file, which means that a worker has worked there lately. */
extern bool crash_has_file(Oid database);

/* Remove the file of a database that was dropped. */
extern void crash_forget(Oid database);

#endif							/* MIXPEEK_CRASH_H */
