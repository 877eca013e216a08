/*-------------------------------------------------------------------------
 *
 * rendering.h
 *		A job's rendering: the content and features of its row's document.
 *
 * Its bytes count against the room of the job's account until it is forgotten.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_RENDERING_H
#define MIXPEEK_RENDERING_H

#include "agent/reading.h"
#include "state/job.h"

/*
 * Most bytes of one account's renderings, and of all accounts'.  Each account may
 * have one rendering of any size.
 */
#define MAX_BYTES		(16 * 1024 * 1024)
#define MAX_TOTAL_BYTES	(32 * 1024 * 1024)

/* Return how much more may be rendered for the account now. */
extern RenderingRoom rendering_room(const struct Account *account);

/*
 * Allocate a rendering of so many bytes in the job's memory, to be filled in by the
 * caller.  features_len is -1 if the template has no features.
 */
extern void rendering_begin(Job *job, int content_len, int features_len);

/* Note that the rendering is complete, hence that the row exists, and count its bytes. */
extern void rendering_end(Job *job);

/* Set the hashes of all jobs that have a rendering. */
extern void rendering_hash(List *jobs);

/* Free the job's rendering, if it has one. */
extern void rendering_forget(Job *job);

#endif							/* MIXPEEK_RENDERING_H */
