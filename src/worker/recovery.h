/*-------------------------------------------------------------------------
 *
 * recovery.h
 *		Errors that end a part of the worker's work, and not the worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_RECOVERY_H
#define MIXPEEK_RECOVERY_H

#include "worker/worker.h"

typedef void (*WorkerPart) (Worker *worker);

/*
 * Runs a part of a turn.  False if it raised an error: then its transaction is rolled back,
 * each job is again where it was, or ends as pending, and what the error was about rests: the table
 * that the worker was busy with, the job that could not be settled, or else the whole worker for a moment.
 * worker->error is its text.  A shutdown is not caught.
 */
extern bool recovery_run(Worker *worker, WorkerPart part);

/* The same for what is about one answer: nothing rests. */
extern bool recovery_run_lightly(Worker *worker, WorkerPart part);

/* Wherever an error came from, each job is in one place again. */
extern void recovery_place_jobs(Worker *worker);

/* Sets aside the table that an error came from, in the transaction of the next claim. */
extern void recovery_begin_claim(Worker *worker);

/* A transaction that claims or settles was committed. */
extern void recovery_note_success(Worker *worker);

#endif							/* MIXPEEK_RECOVERY_H */
