/*-------------------------------------------------------------------------
 *
 * job.h
 *		One key on its way from the outbox to its stored state.
 *		Pure: what to ask next, and what an answer changes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_JOB_H
#define MIXPEEK_JOB_H

#include "datatype/timestamp.h"
#include "lib/ilist.h"
#include "mirror/mirror.h"
#include "remote/answer.h"
#include "remote/response.h"
#include "storage/itemptr.h"

#define HASH_LENGTH 32			/* SHA-256 */

typedef struct ContentHash
{
	bool		known;
	uint8		bytes[HASH_LENGTH];
} ContentHash;

/* Of features that a document does not have: no SHA-256 is like it. */
static const ContentHash NO_HASH = {.known = true};

/* The requests that a key may need, in the order in which they may follow. */
typedef enum JobStep
{
	JOB_LOOK_UP,				/* list by marker: is there a document? */
	JOB_DELETE,
	JOB_CREATE,
	JOB_UPDATE,
	JOB_END						/* nothing left to ask */
} JobStep;

/* What becomes of the key's record in mixpeek.documents. */
typedef enum JobOutcome
{
	OUTCOME_MIRRORED,
	OUTCOME_PENDING,			/* try again at next_attempt_at */
	OUTCOME_FAILED,				/* see error */
	OUTCOME_FORGOTTEN			/* neither row nor document is left */
} JobOutcome;

typedef struct Job
{
	dlist_node	node;			/* in the queue it stands in */
	MemoryContext context;		/* of all that follows */
	uint64		number;			/* in the order in which they were made */

	/* where it is */
	uint64		claim;			/* the transaction that puts it on record */
	bool		queued;			/* see recovery.c */
	bool		under_way;		/* a request is */
	bool		delegated;		/* an agent has it, or is to have it */
	bool		has_ended;		/* the outcome is known */
	int			troubles;		/* errors while the outcome was stored */
	double		settle_at;		/* not before */

	/* which key */
	Oid			relation;
	char	   *collection;
	char	   *key;
	Mirror	   *mirror;			/* NULL: unmirrored, its document to be
								 * deleted */
	struct Account *account;
	bool		claims;			/* counts among the account's claimed jobs */

	/* why it is looked at */
	bool		dirty;			/* an outbox entry says so */
	bool		inserted;		/* its first entry is an INSERT */
	bool		refresh;		/* only to see the enrichments again */
	TimestampTz due;			/* when it was, if that is why; 0: it is not */
	List	   *entries;		/* the outbox's entries (OutboxEntry) that it
								 * takes up, until they are removed */
	bool		read_skipped;	/* its table took too long: it was not read */
	bool		read;			/* an agent has read its row */
	char	   *read_marker;	/* for this marker; NULL: the mirror's for the
								 * key */
	int			long_key;		/* bytes of a key that is too long to be
								 * stored whole; 0: it is not */

	/* what is stored about it */
	bool		stored;
	bool		assumed_new;	/* that was not looked for: its row is a new
								 * one */
	ItemPointerData record_tid; /* where its record was last; not valid: not
								 * known */
	char	   *document_id;	/* NULL: none is known */
	bool		in_doubt;		/* a create was sent and not answered */
	ContentHash sent_content;	/* what the API was last told */
	ContentHash sent_features;
	ContentHash intent_content; /* what the create in doubt said */
	ContentHash intent_features;
	int			attempts;
	int			polls;
	char	   *marker;
	char	   *server;
	TimestampTz next_attempt_at;	/* 0: none */
	const char *state;

	/* parts of requests, in UTF-8 */
	char	   *path;			/* /v1/collections/{collection_identifier}/documents */
	char	   *collection_json;
	char	   *marker_json;

	/* what is wanted */
	bool		row_exists;		/* the row exists */
	char	   *content;		/* UTF-8: ,"metadata":…  see template.h */
	int			content_len;
	bool		counted;		/* its bytes are among its account's */
	char	   *features;		/* UTF-8, or NULL */
	int			features_len;
	ContentHash content_hash;
	ContentHash features_hash;

	/* on the way */
	bool		must_look_up;
	int			nsteps;
	char	   *gone;			/* the document that a delete did not find */
	bool		answered;		/* the API confirmed something */
	Jsonb	   *enrichments;	/* of the last answer; NULL: none seen */
	char	   *unkept;			/* why those of the last answer are not kept;
								 * NULL: they are */

	/* the end */
	bool		waits_for_write;	/* its enrichments count among
									 * Worker.unwritten_bytes */
	JobOutcome	outcome;
	bool		unwritten;		/* the row has not got what belongs into its
								 * columns: look again */
	char	   *error;
} Job;

extern JobStep job_next_step(const Job *job);

/* May the steps ahead include a create? */
extern bool job_may_create(const Job *job);

/*
 * The body of a create or an update in UTF-8, in the current memory context.
 */
extern char *job_body(const Job *job, JobStep step, size_t *len);

/*
 * Takes in the answer to a delete, create or update that the API gave; false if it is
 * none, as it does not name the document.  document is not looked at after a delete or
 * where there is none any more (VERDICT_GONE).
 */
extern bool job_take_answer(Job *job, JobStep step, Verdict verdict, const AnswerDocument *document);

/* Takes in what a look-up said: the document with the job's marker, or NULL. */
extern void job_take_document(Job *job, const AnswerDocument *document);

/* Bytes of memory that wait to be stored with the job's outcome. */
extern size_t job_bytes_kept(const Job *job);

#endif							/* MIXPEEK_JOB_H */
