/*-------------------------------------------------------------------------
 *
 * rendering.h
 *		A job's document: the content and features that its row was rendered to.
 *
 * Their bytes count against the room of the job's account until they are
 * forgotten.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_RENDERING_H
#define MIXPEEK_RENDERING_H

#include "agent/reading.h"
#include "state/job.h"

/*
 * Bytes of a account's rendered documents that may wait at once, and of all
 * accounts'.  Each account may have one document, whatever its size.
 */
#define MAX_BYTES		(16 * 1024 * 1024)
#define MAX_TOTAL_BYTES	(32 * 1024 * 1024)

/* What a account has room for now. */
extern RenderingRoom rendering_room(const struct Account *account);

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
