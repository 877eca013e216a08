/*-------------------------------------------------------------------------
 *
 * rendering.h
 *		A job's document: the content and features that its row was rendered to.
 *
 * Their bytes count against the room of the job's connection until they are
 * forgotten.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_RENDERING_H
#define MIXPEEK_RENDERING_H

#include "job.h"

/*
 * Makes room for a rendering of so many bytes (features_len -1: the template has
 * none) in the job's memory; who calls fills it in.
 */
extern void rendering_begin(Job *job, int content_len, int features_len);

/* The row is there, and its document complete. */
extern void rendering_end(Job *job);

/* Fills in the hashes of the jobs that have a rendering. */
extern void rendering_hash(List *jobs);

extern void rendering_forget(Job *job);

#endif							/* MIXPEEK_RENDERING_H */
