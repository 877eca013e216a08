/*-------------------------------------------------------------------------
 *
 * job.h
 *		One key on its way from the outbox to its stored state: which request
 *		it needs next, and what an answer changes.
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

/* The hash of features that a document does not have: zeros, which no SHA-256 is. */
static const ContentHash NO_HASH = {.known = true};

/* The requests that a key may need, in the order in which they may be sent. */
typedef enum JobStep
{
	JOB_LOOK_UP,				/* list by marker */
	JOB_GET,					/* read by id */
	JOB_DELETE,
	JOB_CREATE,
	JOB_UPDATE,
	JOB_LIST,					/* a page of the collection's documents: see
								 * worker/inventory.c */
	JOB_END						/* none */
} JobStep;

/* The outcome, which is stored in mixpeek.documents. */
typedef enum JobOutcome
{
	OUTCOME_MIRRORED,
	OUTCOME_PENDING,			/* to be tried again at next_attempt_at */
	OUTCOME_FAILED,				/* see error */
	OUTCOME_FORGOTTEN			/* neither row nor document exists: the record
								 * is deleted */
} JobOutcome;

typedef struct Job
{
	dlist_node	node;			/* of the queue that the job is in */
	MemoryContext context;		/* of the job and everything below */
	uint64		number;			/* in the order of creation */

	/* progress */
	uint64		claim;			/* number of the claim that made it */
	bool		queued;			/* see recovery.c */
	bool		under_way;		/* a request was sent */
	bool		delegated;		/* an agent has it or will get it */
	bool		has_ended;		/* the outcome is known */
	int			troubles;		/* errors when the outcome was stored */
	double		settle_at;		/* earliest time to store it, in
								 * clock_seconds() */

	/* the key */
	Oid			relation;
	char	   *collection;
	char	   *key;
	Mirror	   *mirror;			/* NULL: unmirrored, the document is to be
								 * deleted */
	struct Account *account;
	bool		claims;			/* counted in the account's claimed jobs */

	/* why it was claimed, and how its row was read */
	bool		dirty;			/* for an outbox entry */
	bool		inserted;		/* its first entry is OUTBOX_INSERT */
	bool		refresh;		/* only to poll the document */
	bool		asked;			/* ... because mixpeek.refresh() was called */
	TimestampTz due;			/* its next_attempt_at, if it was due; else 0 */
	List	   *entries;		/* outbox entries (OutboxEntry) to be removed */
	bool		read_skipped;	/* not read: the table took too long */
	bool		read;			/* an agent has read the row */
	char	   *read_marker;	/* ... with this marker; NULL: the one that
								 * the mirror gives the key */
	int			long_key;		/* bytes of a key that is too long to be
								 * stored whole, else 0 */
	struct OutboxEntry *inventory;	/* the entry that it lists a page for, and
									 * not a key's row; or NULL */

	/* what is stored about it */
	bool		stored;
	bool		assumed_new;	/* the record was not read, because the row is
								 * new */
	ItemPointerData record_tid; /* last known place of the record; may be
								 * invalid */
	char	   *document_id;	/* NULL: none is known */
	char	   *replaced_id;	/* the document that document_id has replaced,
								 * which is to be deleted; or NULL */
	List	   *fields;			/* root-level fields of the template's own
								 * that the document may have, as char * */
	bool		fields_stay;	/* a field is not removed by sending null */
	List	   *added_names;	/* names in metadata that the API has added,
								 * as char * in UTF-8 */
	bool		in_doubt;		/* a create was sent and not answered */
	ContentHash sent_content;	/* what was sent last and confirmed */
	ContentHash sent_features;
	ContentHash intent_content; /* content of the create in doubt */
	ContentHash intent_features;
	int			attempts;
	int			polls;
	char	   *marker;
	bool		has_marker;		/* see jobs_take_marker() */
	char	   *server;
	int64		place;			/* where the document is, or its requests go;
								 * see server_place() */
	bool		place_known;	/* no request was ever sent: false */
	TimestampTz next_attempt_at;	/* 0: none */
	const char *state;

	/* parts of requests, in UTF-8 */
	char	   *path;			/* /v1/collections/{collection_identifier}/documents */
	char	   *collection_json;
	char	   *marker_json;

	/* the row */
	bool		row_exists;
	char	   *content;		/* UTF-8: ,"metadata":…  see template.h */
	int			content_len;
	bool		counted;		/* its bytes are counted in the account */
	char	   *features;		/* UTF-8, or NULL */
	int			features_len;
	ContentHash content_hash;
	ContentHash features_hash;

	/* requests and answers */
	bool		must_look_up;
	bool		must_get;		/* a poll did not list the document */
	bool		found_other;	/* a look-up has found a document that the
								 * record does not name */
	List	   *stale;			/* names, char * in UTF-8, in the document's
								 * metadata that the row's do not have: null
								 * is sent for them */
	bool		stale_stays;	/* that was in vain */
	int			nsteps;
	char	   *gone;			/* id of the document that a delete did not
								 * find */
	bool		answered;		/* the API confirmed a request */
	Jsonb	   *enrichments;	/* of the last answer, or NULL */
	bool		none;			/* the last answer, of this job or an earlier
								 * one, had no enrichments that are kept */
	char	   *unkept;			/* why the last answer's enrichments are not
								 * kept; NULL: they are */
	List	   *listed;			/* of an inventory: the page's documents,
								 * ListedDocument (mirror_records.h) */
	char	   *next_page;		/* of an inventory: NULL: this is the last one */

	/* the end */
	bool		waits_for_write;	/* its enrichments are counted in
									 * Worker.unwritten_bytes */
	JobOutcome	outcome;
	bool		unwritten;		/* the write-back into the row failed: to be
								 * repeated */
	char	   *error;
} Job;

/* Return the next request that brings the document in line with the row. */
extern JobStep job_next_step(const Job *job);

/* Check whether a create may be among the requests that follow. */
extern bool job_may_create(const Job *job);

/*
 * Check whether the known document cannot become what the row says, so that another one is created
 * and takes its place.
 */
extern bool job_must_replace(const Job *job);

/* Check whether the document may have root-level fields that the template does not have any more. */
extern bool job_has_old_fields(const Job *job);

/* Return the id of the document that a request of this step is for. */
extern const char *job_target(const Job *job, JobStep step);

/*
 * Return the root-level fields of the template's own that the document may have if the answer to the
 * next request is lost.
 */
extern List *job_possible_fields(const Job *job);

/* Return the body of a create or update, in UTF-8, in the current memory context. */
extern char *job_body(const Job *job, JobStep step, size_t *len);

/*
 * Process the answer to a get, delete, create or update.  Returns false if the answer is not valid
 * because it does not name the document.  "document" is not used after a delete, and if there is no
 * document any more (VERDICT_GONE).
 */
extern bool job_take_answer(Job *job, JobStep step, Verdict verdict, const AnswerDocument *document);

/* Process the result of a look-up: the document with the job's marker, or NULL. */
extern void job_take_document(Job *job, const AnswerDocument *document);

/* Return the bytes of memory that the job keeps until its outcome is stored. */
extern size_t job_bytes_kept(const Job *job);

#endif							/* MIXPEEK_JOB_H */
