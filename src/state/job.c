/*-------------------------------------------------------------------------
 *
 * job.c
 *		One key on its way from the outbox to its stored state.
 *
 * job_next_step() compares what was sent last with what the row says, and returns the
 * next request that makes them equal.  Each answer updates what is known, and the
 * next step is determined anew; no position in a sequence is stored.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "lib/stringinfo.h"
#include "state/job.h"

/* The maximum of bytes that a body has besides its variable parts. */
#define BODY_EXTRA		64

static bool
same_hash(const ContentHash *a, const ContentHash *b)
{
	return a->known && b->known && memcmp(a->bytes, b->bytes, HASH_LENGTH) == 0;
}

/* Check whether the document must be replaced: features have vectors, which cannot be updated. */
static bool
must_replace(const Job *job)
{
	if (!job->sent_features.known)
		return job->features != NULL;
	return !same_hash(&job->sent_features, &job->features_hash);
}

JobStep
job_next_step(const Job *job)
{
	if (job->inventory)
		return job->answered ? JOB_END : JOB_LIST;
	if (job->must_look_up)
		return JOB_LOOK_UP;
	if (job->refresh)
		return JOB_END;
	if (!job->row_exists)
		return job->document_id ? JOB_DELETE : JOB_END;
	if (job->document_id == NULL)
		return JOB_CREATE;
	if (must_replace(job))
		return JOB_DELETE;
	if (!same_hash(&job->sent_content, &job->content_hash))
		return JOB_UPDATE;
	return JOB_END;
}

bool
job_may_create(const Job *job)
{
	if (!job->row_exists || job->refresh)
		return false;
	return job->must_look_up || job->document_id == NULL || must_replace(job);
}

char *
job_body(const Job *job, JobStep step, size_t *len)
{
	StringInfoData body;

	initStringInfo(&body);
	enlargeStringInfo(&body, job->content_len + job->features_len + strlen(job->collection_json) + BODY_EXTRA);
	if (step == JOB_CREATE)
	{
		appendStringInfo(&body, "{\"collection_id\":%s", job->collection_json);
		appendBinaryStringInfo(&body, job->content, job->content_len);
		if (job->features)
		{
			appendStringInfoString(&body, ",\"features\":");
			appendBinaryStringInfo(&body, job->features, job->features_len);
		}
	}
	else
	{
		appendStringInfoChar(&body, '{');
		appendBinaryStringInfo(&body, job->content + 1, job->content_len - 1);
	}
	appendStringInfoChar(&body, '}');
	*len = body.len;
	return body.data;
}

/*
 * Answers
 */

size_t
job_bytes_kept(const Job *job)
{
	return job->enrichments ? VARSIZE(job->enrichments) : 0;
}

static void
keep_enrichments(Job *job, const AnswerDocument *document)
{
	job->unkept = document->unkept ? pstrdup(document->unkept) : NULL;
	if (document->enrichments == NULL)
		return;
	job->enrichments = palloc(VARSIZE(document->enrichments));
	memcpy(job->enrichments, document->enrichments, VARSIZE(document->enrichments));
}

bool
job_take_answer(Job *job, JobStep step, Verdict verdict, const AnswerDocument *document)
{
	MemoryContext old;

	if (verdict == VERDICT_DONE && step != JOB_DELETE && document->document_id == NULL)
		return false;
	old = MemoryContextSwitchTo(job->context);
	job->answered = true;
	if (verdict == VERDICT_GONE)
	{
		/*
		 * The document was deleted by another client, or by a request of ours
		 * whose answer was lost.  Look up whether there is another one with
		 * our marker, even for a delete: it may have been followed by a
		 * create of which no intent is stored.
		 */
		if (step == JOB_DELETE)
			job->gone = job->document_id;
		job->document_id = NULL;
		job->sent_content.known = job->sent_features.known = false;
		job->must_look_up = true;
	}
	else if (step == JOB_DELETE)
	{
		job->document_id = NULL;
		job->sent_content.known = job->sent_features.known = false;
	}
	else
	{
		if (step == JOB_CREATE)
		{
			job->document_id = pstrdup(document->document_id);
			job->sent_features = job->features_hash;
		}
		job->sent_content = job->content_hash;
		job->in_doubt = false;
		keep_enrichments(job, document);
	}
	MemoryContextSwitchTo(old);
	return true;
}

/*
 * Take a document that was found by its marker.  It was made by the create in doubt, unless it is the one that was
 * known before; then its content is unknown.
 */
void
job_take_document(Job *job, const AnswerDocument *document)
{
	MemoryContext old = MemoryContextSwitchTo(job->context);
	char	   *known = job->document_id;

	job->must_look_up = false;
	if (document && job->gone && strcmp(job->gone, document->document_id) == 0)
		document = NULL;		/* lists may be out of date */
	if (job->refresh && document == NULL)
	{
		MemoryContextSwitchTo(old);
		return;
	}
	job->answered = true;
	job->document_id = document ? pstrdup(document->document_id) : NULL;
	if (!job->refresh)
	{
		bool		ours = job->in_doubt && job->document_id &&
			(known == NULL || strcmp(known, job->document_id) != 0);

		job->sent_content.known = job->sent_features.known = false;
		if (ours)
		{
			job->sent_content = job->intent_content;
			job->sent_features = job->intent_features;
		}
		job->in_doubt = false;
	}
	if (document)
		keep_enrichments(job, document);
	MemoryContextSwitchTo(old);
}
