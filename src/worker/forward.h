/*-------------------------------------------------------------------------
 *
 * forward.h
 *		The worker's structs, for headers that only hand them on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_FORWARD_H
#define MIXPEEK_FORWARD_H

typedef struct Worker Worker;
typedef struct Request Request;

#endif							/* MIXPEEK_FORWARD_H */
