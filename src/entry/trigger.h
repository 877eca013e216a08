/*-------------------------------------------------------------------------
 *
 * trigger.h
 *		mixpeek.mirror_row(): the trigger that notes which keys may have changed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_TRIGGER_H
#define MIXPEEK_TRIGGER_H

/*
 * Install the hook by which statements that set no mirrored column skip the trigger;
 * called once a backend, by _PG_init().
 */
extern void trigger_init(void);

#endif							/* MIXPEEK_TRIGGER_H */
