/*-------------------------------------------------------------------------
 *
 * job.c
 *		One key on its way from the outbox to its stored state.
 *
 * job_next_step() compares what was sent last with what the row says, and returns the
 * next request that makes them equal.  Each answer updates what is known, and the
 * next step is determined anew; no position in a sequence is stored.
 *
 * A document that cannot be updated is replaced: its successor is created first, and the
 * old document is deleted when the successor is known.  Until then document_id is the old
 * document.  If the answer to the create is lost, a look-up by the marker tells the two apart: the
 * successor is the one that is not known yet.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/encoding.h"
#include "lib/stringinfo.h"
#include "remote/metadata.h"
#include "state/field_list.h"
#include "state/job.h"
#include "utils/json.h"
#include "utils/memutils.h"

/* The maximum of bytes that a body has besides its variable parts. */
#define BODY_EXTRA		64

/*
 * From this poll of a document on, 15 seconds after it was sent, a list without it is a reason to ask
 * for it by its id.  Earlier ones may only be out of date.
 */
#define FIRST_SURE_POLL	4

/* What a row's content begins with: see add_metadata() in mirror/template.c. */
#define CONTENT_START	",\"metadata\":{"

static bool
same_hash(const ContentHash *a, const ContentHash *b)
{
	return a->known && b->known && memcmp(a->bytes, b->bytes, HASH_LENGTH) == 0;
}

/* Return the root-level fields of the template's own; NIL without a template. */
static List *
template_fields(const Job *job)
{
	return job->mirror && job->mirror->template ? job->mirror->template->root_fields : NIL;
}

bool
job_has_old_fields(const Job *job)
{
	ListCell   *lc;

	foreach(lc, job->fields)
	{
		if (!field_list_has(template_fields(job), lfirst(lc)))
			return true;
	}
	return false;
}

/* Check whether the features differ: they have vectors, which cannot be updated. */
static bool
features_differ(const Job *job)
{
	if (!job->sent_features.known)
		return job->features != NULL;
	return !same_hash(&job->sent_features, &job->features_hash);
}

bool
job_must_replace(const Job *job)
{
	if (!job->row_exists || job->refresh || job->document_id == NULL)
		return false;
	return features_differ(job) || (job->fields_stay && job_has_old_fields(job));
}

JobStep
job_next_step(const Job *job)
{
	if (job->inventory)
		return job->answered ? JOB_END : JOB_LIST;
	if (job->must_look_up)
		return JOB_LOOK_UP;
	if (job->refresh)
		return job->must_get ? JOB_GET : JOB_END;
	if (!job->row_exists)
		return job->replaced_id || job->document_id ? JOB_DELETE : JOB_END;
	if (job->document_id == NULL || job_must_replace(job))
		return job->replaced_id ? JOB_DELETE : JOB_CREATE;
	if (!same_hash(&job->sent_content, &job->content_hash) || job_has_old_fields(job) || job->stale)
		return JOB_UPDATE;
	return job->replaced_id ? JOB_DELETE : JOB_END;
}

bool
job_may_create(const Job *job)
{
	if (!job->row_exists || job->refresh)
		return false;
	return job->must_look_up || job->document_id == NULL || job_must_replace(job);
}

const char *
job_target(const Job *job, JobStep step)
{
	return step == JOB_DELETE && job->replaced_id ? job->replaced_id : job->document_id;
}

List *
job_possible_fields(const Job *job)
{
	return job->row_exists ? field_list_union(job->fields, template_fields(job)) : job->fields;
}

/*
 * Bodies
 */

/* Append a null for each field that the template does not have any more. */
static void
append_old_fields(StringInfo body, const Job *job)
{
	ListCell   *lc;

	foreach(lc, field_list_select(job->fields, template_fields(job), false))
	{
		StringInfoData name;

		initStringInfo(&name);
		escape_json(&name, lfirst(lc));
		appendStringInfo(body, ",%s:null", encoding_to_utf8(name.data));
	}
}

/* Append the content, in whose metadata null stands for each name that is to be removed. */
static void
append_content(StringInfo body, const Job *job)
{
	int			start = strlen(CONTENT_START);
	ListCell   *lc;

	appendBinaryStringInfo(body, job->content + 1, start - 1);
	foreach(lc, job->stale)
	{
		escape_json(body, lfirst(lc));
		appendStringInfoString(body, ":null,");
	}
	appendBinaryStringInfo(body, job->content + start, job->content_len - start);
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
		append_content(&body, job);
		append_old_fields(&body, job);
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

/* Keep an answer's enrichments in place of those of an earlier answer, which may be of other content. */
static void
keep_enrichments(Job *job, const AnswerDocument *document)
{
	if (job->enrichments)
		pfree(job->enrichments);
	job->enrichments = NULL;
	job->unkept = document->unkept ? pstrdup(document->unkept) : NULL;
	job->none = document->enrichments == NULL;
	if (document->enrichments == NULL)
		return;
	job->enrichments = palloc(VARSIZE(document->enrichments));
	memcpy(job->enrichments, document->enrichments, VARSIZE(document->enrichments));
}

/* Note that no document of the job is known any more. */
static void
forget_document(Job *job)
{
	job->document_id = NULL;
	job->sent_content.known = job->sent_features.known = false;
}

/*
 * Handle that there is no such document.  It was deleted by another client, or by a request of ours
 * whose answer was lost.  Look up whether there is another one with our marker, even for a delete:
 * it may have been followed by a create of which no intent is stored.  If it was a successor, what it
 * was to replace is the document again.  A poll does not go on: its key is claimed once more.
 */
static void
take_absence(Job *job, JobStep step)
{
	if (step == JOB_DELETE && job->replaced_id)
	{
		job->replaced_id = NULL;
		return;
	}
	if (step == JOB_DELETE)
		job->gone = job->document_id;
	forget_document(job);
	job->document_id = job->replaced_id;
	job->replaced_id = NULL;
	job->must_look_up = !job->refresh;
}

/*
 * Note which names of metadata an update has left in the document that the row does not have: an API
 * that merges metadata keeps them until they are null.  Copies the names.
 */
static void
take_metadata(Job *job, const AnswerDocument *document)
{
	bool		told = job->stale != NIL;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "mixpeek metadata", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	List	   *extra = metadata_find_extra(&document->metadata, job->content + strlen(CONTENT_START) - 1);

	MemoryContextSwitchTo(old);
	job->stale = field_list_select(extra, job->added_names, false);
	job->stale_stays = told && job->stale;
	MemoryContextDelete(context);
}

/* Take what the document is after a create or an update. */
static void
take_written(Job *job, JobStep step, const AnswerDocument *document)
{
	List	   *left = step == JOB_UPDATE ? field_list_select(document->fields, template_fields(job), false) : NIL;

	if (step == JOB_CREATE)
	{
		job->replaced_id = job->document_id;
		job->document_id = pstrdup(document->document_id);
		job->sent_features = job->features_hash;
	}
	else
		take_metadata(job, document);
	job->fields = field_list_union(template_fields(job), left);
	job->sent_content = job->content_hash;
	job->sent_content.known = job->stale == NIL;
	job->in_doubt = false;
	keep_enrichments(job, document);
}

bool
job_take_answer(Job *job, JobStep step, Verdict verdict, const AnswerDocument *document)
{
	MemoryContext old;

	if (verdict == VERDICT_DONE && step != JOB_DELETE && document->document_id == NULL)
		return false;
	old = MemoryContextSwitchTo(job->context);
	job->answered = true;
	job->must_get = false;
	if (verdict == VERDICT_GONE)
		take_absence(job, step);
	else if (step == JOB_GET)
		keep_enrichments(job, document);
	else if (step != JOB_DELETE)
		take_written(job, step, document);
	else if (job->replaced_id)
		job->replaced_id = NULL;
	else
		forget_document(job);
	MemoryContextSwitchTo(old);
	return true;
}

/* Take the result of a poll.  A document that is not listed is asked for by its id. */
static void
take_poll(Job *job, const AnswerDocument *document)
{
	if (job->document_id == NULL)
		return;					/* another session has changed the record */
	if (document && strcmp(document->document_id, job->document_id) == 0)
	{
		job->answered = true;
		keep_enrichments(job, document);
	}
	else
		job->must_get = job->asked || job->polls >= FIRST_SURE_POLL;
}

/*
 * Take another document than the one that was known, if any.  It was made by the create in doubt, if
 * there is one; else its content is unknown.  It takes the place of the known one.  Where there is a
 * known one, another client may have made the other from it, marker and all: so the content is sent,
 * before the known one is deleted.
 */
static void
take_found(Job *job, const AnswerDocument *document)
{
	job->replaced_id = job->document_id;
	job->document_id = pstrdup(document->document_id);
	job->found_other = true;
	job->sent_content.known = job->sent_features.known = false;
	if (job->in_doubt)
		job->sent_features = job->intent_features;
	if (job->in_doubt && job->replaced_id == NULL)
		job->sent_content = job->intent_content;
}

/*
 * The document that was known before may be missing in a list that is out of date, so it stays the
 * known one; an update will tell.
 */
void
job_take_document(Job *job, const AnswerDocument *document)
{
	MemoryContext old = MemoryContextSwitchTo(job->context);

	job->must_look_up = false;
	if (document && job->gone && strcmp(job->gone, document->document_id) == 0)
		document = NULL;		/* lists may be out of date */
	if (job->refresh)
	{
		take_poll(job, document);
		MemoryContextSwitchTo(old);
		return;
	}
	job->answered = true;
	if (document == NULL)
		job->sent_content.known = false;
	else if (job->document_id == NULL || strcmp(job->document_id, document->document_id) != 0)
		take_found(job, document);
	job->in_doubt = false;
	if (document)
	{
		List	   *absent = field_list_select(job->fields, document->fields, false);

		job->fields = field_list_select(job->fields, field_list_select(absent, template_fields(job), false), false);
		keep_enrichments(job, document);
	}
	MemoryContextSwitchTo(old);
}
