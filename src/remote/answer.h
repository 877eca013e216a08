/*-------------------------------------------------------------------------
 *
 * answer.h
 *		What the worker takes from an answer: a document's id, its marker and its
 *		enrichments.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_ANSWER_H
#define MIXPEEK_ANSWER_H

#include "base/scan.h"
#include "nodes/pg_list.h"
#include "remote/http.h"
#include "utils/jsonb.h"

/* What may be kept of a document's enrichments.  It can be dumped, restored and shown. */
#define MAX_ENRICHMENT_BYTES	(1024 * 1024)
#define MAX_ENRICHMENT_VALUES	100000
#define MAX_ENRICHMENT_DEPTH	64

/* All palloc'd, and in the database encoding. */
typedef struct AnswerDocument
{
	char	   *document_id;	/* NULL: none, or one that cannot be meant */
	Jsonb	   *enrichments;	/* NULL: there are none yet */
	char	   *unkept;			/* why there are some and they are not kept;
								 * NULL: they are */
} AnswerDocument;

/* Is the body UTF-8?  What follows takes that for granted. */
extern bool answer_is_utf8(const HttpAnswer *answer);

/*
 * Reads the document that text is, up to end, which may be any JSON.  False if it is none;
 * *wrong is then where.  sent names the root-level fields that are no enrichments, as we
 * have sent them.
 */
extern bool answer_document(const char *text, const char *end, List *sent,
							AnswerDocument *document, const char **wrong);

/*
 * A document in a list: its id and marker, or NULL.  text was run over, and found to be an
 * object.
 */
extern void answer_listed(const JsonText *text, char **document_id, char **marker);

#endif							/* MIXPEEK_ANSWER_H */
