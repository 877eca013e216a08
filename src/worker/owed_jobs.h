/*-------------------------------------------------------------------------
 *
 * owed_jobs.h
 *		Jobs of owed deletes, and of rows whose documents were to be deleted.
 *
 * Both functions must be called in a claim.  They return the jobs that go on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_OWED_JOBS_H
#define MIXPEEK_OWED_JOBS_H

#include "nodes/pg_list.h"
#include "worker/forward.h"

/*
 * End the jobs of owed deletes whose documents have become those of other records: a row's look-up
 * has found the document before it was deleted.
 */
extern List *owed_jobs_drop_wanted(Worker *worker, List *jobs);

/*
 * Give rows without a known document the records of the owed deletes that have their markers, and leave
 * the rows' jobs where that is not possible yet.
 */
extern List *owed_jobs_take_back(Worker *worker, List *jobs);

#endif							/* MIXPEEK_OWED_JOBS_H */
