/*-------------------------------------------------------------------------
 *
 * origin.h
 *		Whose documents these are, and whether this database may touch them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_ORIGIN_H
#define MIXPEEK_ORIGIN_H

/*
 * This database's part of every marker, made when first asked for; palloc'd.
 * Needs a transaction.
 */
extern char *origin_id(void);

/*
 * NULL if this database is where its origin was made, or has taken that one's
 * place by failover; else what it looks like, palloc'd.  *id is the origin's, or
 * NULL if there is none.  Needs a transaction.
 */
extern char *origin_problem(char **id);

/* What to do about it. */
extern const char *const origin_hint;

#endif							/* MIXPEEK_ORIGIN_H */
