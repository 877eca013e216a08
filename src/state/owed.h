/*-------------------------------------------------------------------------
 *
 * owed.h
 *		Owed deletes: records of documents that must be deleted, and that no row or mirror names.
 *
 * An owed delete is a record of mixpeek.documents whose relation is 0 and whose owner is the
 * role whose API key deletes the document.  Its key is a uuid, since there may be several of one
 * document.  It depends neither on the table nor on the mirror, and is worked on like any other
 * record that is due.
 *
 * All functions must be called in a transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_OWED_H
#define MIXPEEK_OWED_H

#include "state/job.h"
#include "state/outbox.h"

/*
 * Make owed deletes of a mirror's records (key NULL: of all), and remove the records.  Those that the
 * API has no document of are only removed.  owner: see above.  rest: milliseconds after which a
 * request that may be under way has ended.  Returns the number of documents.  The caller holds a
 * lock on the table that keeps the worker from claiming and settling its keys; to have the
 * worker notice, it calls owed_announce() in the same transaction.
 */
extern int64 document_owe_delete(Oid relation, const char *collection, const char *key, Oid owner, int rest);

/* Make owed deletes of all records that have a table, and remove these, as above.  The tables' owners delete them. */
extern void document_owe_all(void);

/* Add the outbox entry that makes the worker read the due records again. */
extern void owed_announce(void);

/* Check whether an outbox entry is that of owed_announce(). */
extern bool owed_is_announcement(Oid relation, char operation);

/* Check whether a job deletes an owed document. */
static inline bool
owed_has_job(const Job *job)
{
	return !OidIsValid(job->relation);
}

/* Return the name, palloc'd, under which the worker keeps together the owed deletes of one account. */
extern char *owed_scope(const char *server, Oid owner);

/* An owed delete, found by its marker. */
typedef struct OwedDelete
{
	char	   *marker;
	char	   *collection;
	char	   *key;
	char	   *server;
	Oid			owner;
	bool		failed;			/* its state; else it is still tried */
	bool		sending;
	bool		place_known;
	int64		place;			/* of the document */
} OwedDelete;

/* Return the owed deletes that have one of these markers, as a List of OwedDelete. */
extern List *owed_find(char *const *markers, int n);

/*
 * Make an owed delete the record of a key again, or a part of the one that it has, which knows no
 * document and is of the same place: the row is there, and wants the document.  Returns false if another transaction has locked or removed it.
 */
extern bool owed_take_back(const OwedDelete *owed, Oid relation, const char *key);

/*
 * Have jobs of owed deletes, which know a document, forget those documents that are other records'
 * now.  If any is left, it is the job's document_id, else that is NULL.
 */
extern void owed_forget_wanted(const List *jobs);

/*
 * Have the failed owed deletes tried again of which the user is the owner, or a member of the owner;
 * collection and error are NULL, or restrict them as in mirror_records_retry().  Returns their number.
 * The session only puts an entry for each into the outbox; the worker changes the record with owed_retry_one().
 */
extern int64 owed_retry(Oid user, const char *collection, const char *error);
extern bool owed_is_retry(const OutboxEntry *entry);
extern void owed_retry_one(const OutboxEntry *entry);

/*
 * A server leads to a place now, or another role may use it; owed_is_any_at() checks whether there are owed
 * deletes at the place.  If some have failed, owed_put_return() puts an entry into the outbox, in whose
 * turn owed_retry_at() has them tried again.  That is not before all rows are claimed that want these
 * documents back, as when a server is altered there and back, or RETURN_PATIENCE has passed (see claim.c).
 */
extern void owed_put_return(int64 place, BlockSet *blocks);
extern bool owed_is_any_at(int64 place);
extern bool owed_is_return(const OutboxEntry *entry);
extern void owed_retry_at(const OutboxEntry *entry);

#endif							/* MIXPEEK_OWED_H */
