/*-------------------------------------------------------------------------
 *
 * confinement.h
 *		Limits an agent's process to the rights of a table's owner, and its memory.
 *
 * Neither limit can be lifted by code that runs in the process afterwards.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_CONFINEMENT_H
#define MIXPEEK_CONFINEMENT_H

/*
 * Make the owner the process' session user and current user, for good.  Return false
 * if there is no such role any more.  Must be called outside of a transaction.
 */
extern bool confinement_set_owner(Oid owner);

/* Limit the memory that the process may allocate from now on. */
extern void confinement_limit_memory(void);

#endif							/* MIXPEEK_CONFINEMENT_H */
