/*-------------------------------------------------------------------------
 *
 * origin.h
 *		The origin of documents, and whether this database may change them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_ORIGIN_H
#define MIXPEEK_ORIGIN_H

/* The row of mixpeek.origin.  All texts are palloc'd. */
typedef struct Origin
{
	char	   *id;				/* NULL: there is no row */
	char	   *former_ids;		/* what it was before, with spaces between */
	char	   *incarnation;
	bool		same_cluster;	/* it was written in this cluster, */
	bool		same_database;	/* in this database, */
	bool		written_here;	/* by the transaction that it names, and not
								 * by the restore of a dump, */
	bool		same_timeline;	/* and before no recovery to an earlier time */
	bool		incomplete;		/* records were removed by TRUNCATE */
	bool		failed_over;	/* this is another instance, or timeline,
								 * because a standby was promoted */
	char	   *instance_news;	/* what is to be stored of this instance;
								 * NULL: nothing */
} Origin;

/*
 * Return the uuid with which this database's markers begin, palloc'd.  It is made by the first
 * call.  Must be called in a transaction.
 */
extern char *origin_id(void);

/*
 * Check whether this database is the one in which its origin was made, or has replaced it by
 * failover, and has not gone back to an earlier time.  Returns NULL if so, or else a description of
 * the problem, palloc'd.  *origin is filled in.  Must be called in a transaction.  In recovery
 * nothing is checked.
 */
extern char *origin_problem(Origin *origin);

/*
 * Store what origin_problem() has found out of the instance.  For the worker, in a claim: it must not wait for the row
 * of mixpeek.origin, which a session in mixpeek.adopt() may have changed.
 */
extern void origin_store_news(const Origin *origin);

/*
 * Write the row of mixpeek.origin for this database, as it is here and now; id is the origin, or
 * NULL to keep it.  remember: documents of the origin before, and of those before it, may be deleted.
 */
extern void origin_take_over(const char *id, bool remember);

/*
 * From now on, do not assume that an inserted row has no document: after a restore or failover it
 * may have been mirrored before.
 */
extern void origin_distrust_inserts(void);

/* Do the same because records are about to be removed by TRUNCATE. */
extern void origin_note_truncated(void);

/* A hint for the problem. */
extern const char *const origin_hint;

#endif							/* MIXPEEK_ORIGIN_H */
