/*-------------------------------------------------------------------------
 *
 * origin.h
 *		The origin of documents, and whether this database may change them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_ORIGIN_H
#define MIXPEEK_ORIGIN_H

/*
 * Return the uuid with which this database's markers begin, palloc'd.  It is made by the first
 * call.  Must be called in a transaction.
 */
extern char *origin_id(void);

/*
 * Check whether this database is the one in which its origin was made, or has replaced it by
 * failover.  Returns NULL if it is, or else a description of the problem, palloc'd.  *id is
 * set to the origin's uuid, or NULL if there is none.  Must be called in a transaction.
 */
extern char *origin_problem(char **id);

/* A hint for the problem. */
extern const char *const origin_hint;

#endif							/* MIXPEEK_ORIGIN_H */
