/*-------------------------------------------------------------------------
 *
 * job.c
 *		One key on its way from the outbox to its stored state.
 *
 * A job compares what the API was told with what the row says, and names the
 * next request that brings the two together.  Each answer changes what is known,
 * and the question is asked anew; nothing remembers where in a sequence it is.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "job.h"
#include "lib/stringinfo.h"
#include "member.h"
#include "utils/builtins.h"
#include "utils/json.h"

/* Bytes of a body's own, at the most. */
#define BODY_EXTRA		64

/* Bytes; the ids are indexed, and an index holds no more than some 2,700. */
#define MAX_DOCUMENT_ID	1000

/* Root-level fields of an answer that are not enrichments (both contracts). */
static const char *const system_fields[] = {
	"document_id", "collection_id", "source_details", "source_blobs", "document_blobs",
	"internal_metadata", "metadata", "vector", "vectors", "features", "presigned_url",
	"presigned_urls", "_internal", "root_object_id", "root_bucket_id", "source_type",
	"source_collection_id", "source_document_id", "source_object_id", "lineage_path",
	"lineage_chain", "document_schema_version", "enrichments", NULL
};

static bool
same_hash(const ContentHash *a, const ContentHash *b)
{
	return a->known && b->known && memcmp(a->bytes, b->bytes, HASH_LENGTH) == 0;
}

/* Vectors cannot be updated: a document whose features differ is replaced. */
static bool
must_replace(const Job *job)
{
	if (!job->told_features.known)
		return job->features != NULL;
	return !same_hash(&job->told_features, &job->features_hash);
}

JobStep
job_next_step(const Job *job)
{
	if (job->must_look_up)
		return JOB_LOOK_UP;
	if (job->refresh)
		return JOB_END;
	if (!job->wanted)
		return job->document_id ? JOB_DELETE : JOB_END;
	if (job->document_id == NULL)
		return JOB_CREATE;
	if (must_replace(job))
		return JOB_DELETE;
	if (!same_hash(&job->told_content, &job->content_hash))
		return JOB_UPDATE;
	return JOB_END;
}

bool
job_may_create(const Job *job)
{
	if (!job->wanted || job->refresh)
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
 * What came back
 */

bool
job_needs_no_member(const char *name, size_t len)
{
	static const char *const needed[] = {"document_id", "enrichments"};

	for (int i = 0; i < (int) lengthof(needed); i++)
	{
		if (strlen(needed[i]) == len && memcmp(needed[i], name, len) == 0)
			return false;
	}
	for (int i = 0; system_fields[i]; i++)
	{
		if (strlen(system_fields[i]) == len && memcmp(system_fields[i], name, len) == 0)
			return true;
	}
	return false;
}

char *
json_string(Jsonb *object, const char *name)
{
	JsonbValue *value = object ? member_find(&object->root, name) : NULL;

	if (value == NULL || value->type != jbvString)
		return NULL;
	return pnstrdup(value->val.string.val, value->val.string.len);
}

char *
json_document_id(Jsonb *document)
{
	char	   *id = json_string(document, "document_id");

	return id && id[0] != '\0' && strlen(id) <= MAX_DOCUMENT_ID ? id : NULL;
}

static bool
is_sent_or_system(const Job *job, const char *name)
{
	ListCell   *lc;

	for (int i = 0; system_fields[i]; i++)
	{
		if (strcmp(system_fields[i], name) == 0)
			return true;
	}
	foreach(lc, job->mirror->template ? job->mirror->template->names : NIL)
	{
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	}
	return false;
}

/* 2026-02: root-level fields that neither we sent nor the contract names. */
static Jsonb *
root_enrichments(const Job *job, Jsonb *document)
{
	JsonbParseState *state = NULL;
	JsonbIterator *it = JsonbIteratorInit(&document->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	JsonbValue	name;
	JsonbValue *result;
	int			n = 0;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = value;
		else if (token == WJB_VALUE && value.type != jbvNull &&
				 !is_sent_or_system(job, pnstrdup(name.val.string.val, name.val.string.len)))
		{
			pushJsonbValue(&state, WJB_KEY, &name);
			pushJsonbValue(&state, WJB_VALUE, &value);
			n++;
		}
	}
	result = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return n > 0 ? JsonbValueToJsonb(result) : NULL;
}

/* {} and {"clusters": [], "taxonomies": []} are nothing yet. */
static bool
is_empty_enrichment(Jsonb *enrichments)
{
	JsonbIterator *it = JsonbIteratorInit(&enrichments->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		if ((token == WJB_VALUE || token == WJB_ELEM) && value.type != jbvNull)
			return false;
	}
	return true;
}

static void
take_enrichments(Job *job, Jsonb *document)
{
	JsonbValue *value = document ? member_find(&document->root, "enrichments") : NULL;
	Jsonb	   *enrichments = NULL;

	if (value && value->type == jbvBinary)
		enrichments = JsonbValueToJsonb(value);
	else if (job->mirror)
		enrichments = root_enrichments(job, document);
	if (enrichments && !is_empty_enrichment(enrichments))
		job->enrichments = enrichments;
}

bool
job_take_answer(Job *job, JobStep step, const Response *response)
{
	MemoryContext old = MemoryContextSwitchTo(job->context);
	char	   *id = step == JOB_DELETE ? NULL : json_document_id(response->json);

	if (response->verdict == VERDICT_DONE && step != JOB_DELETE && id == NULL)
	{
		MemoryContextSwitchTo(old);
		return false;
	}
	job->answered = true;
	if (response->verdict == VERDICT_GONE)
	{
		/*
		 * Somebody deleted the document, or we did and were not answered: is
		 * there another with our marker?  Even a delete must ask, since a create
		 * may have followed that no intent spoke of.
		 */
		if (step == JOB_DELETE)
			job->gone = job->document_id;
		job->document_id = NULL;
		job->told_content.known = job->told_features.known = false;
		job->must_look_up = true;
	}
	else if (step == JOB_DELETE)
	{
		job->document_id = NULL;
		job->told_content.known = job->told_features.known = false;
	}
	else
	{
		if (step == JOB_CREATE)
		{
			job->document_id = id;
			job->told_features = job->features_hash;
		}
		job->told_content = job->content_hash;
		job->in_doubt = false;
		take_enrichments(job, response->json);
	}
	MemoryContextSwitchTo(old);
	return true;
}

/*
 * A document found by its marker is the one the create in doubt made, unless
 * it is the one that was there before; then its content is not known.
 */
void
job_take_document(Job *job, Jsonb *document)
{
	MemoryContext old = MemoryContextSwitchTo(job->context);
	char	   *known = job->document_id;

	job->must_look_up = false;
	if (document && job->gone && strcmp(job->gone, json_document_id(document)) == 0)
		document = NULL;		/* a list may lag behind */
	if (job->refresh && document == NULL)
	{
		MemoryContextSwitchTo(old);
		return;
	}
	job->answered = true;
	job->document_id = document ? json_document_id(document) : NULL;
	if (!job->refresh)
	{
		bool		ours = job->in_doubt && job->document_id &&
			(known == NULL || strcmp(known, job->document_id) != 0);

		job->told_content.known = job->told_features.known = false;
		if (ours)
		{
			job->told_content = job->intent_content;
			job->told_features = job->intent_features;
		}
		job->in_doubt = false;
	}
	if (document)
		take_enrichments(job, document);
	MemoryContextSwitchTo(old);
}
