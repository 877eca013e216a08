/*-------------------------------------------------------------------------
 *
 * prepare.h
 *		What a claimed key's job needs before its first request: its stored record and
 *		its row, rendered as a document.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_PREPARE_H
#define MIXPEEK_PREPARE_H

#include "nodes/pg_list.h"
#include "agent/reading.h"
#include "state/job.h"
#include "worker/forward.h"

/* Check whether a job's row must be read. */
extern bool prepare_needs_row(const Job *job);

/*
 * Fetch the records of the jobs and read their rows.  Returns the jobs that can go on;
 * those whose rows an agent reads are delegated, those for whose bytes there is no room
 * are left, and those that must wait for another job are left, too.
 */
extern List *prepare_jobs(Worker *worker, List *jobs);

/*
 * Take what an agent has read for a job: its row is rendered already, its record must be
 * fetched again.  Returns false if the job was left.
 */
extern bool prepare_take_read(Worker *worker, Job *job, RowEnd end, const char *problem);

#endif							/* MIXPEEK_PREPARE_H */
