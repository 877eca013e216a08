/*-------------------------------------------------------------------------
 *
 * trigger.h
 *		mixpeek.mirror_row(): says which key may have changed, and no more.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_TRIGGER_H
#define MIXPEEK_TRIGGER_H

/* Once a backend, from _PG_init(): statements that set no mirrored column pass the trigger by. */
extern void trigger_init(void);

#endif							/* MIXPEEK_TRIGGER_H */
