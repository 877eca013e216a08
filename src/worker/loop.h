/*-------------------------------------------------------------------------
 *
 * loop.h
 *		The worker's process.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_LOOP_H
#define MIXPEEK_LOOP_H

/* Background worker entry points. */
extern PGDLLEXPORT void mixpeek_worker_main(Datum main_arg);
extern PGDLLEXPORT void mixpeek_ticket_worker_main(Datum main_arg);

#endif							/* MIXPEEK_LOOP_H */
