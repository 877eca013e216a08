/*-------------------------------------------------------------------------
 *
 * answer.h
 *		What is read of a document in an answer: its id, its marker and its
 *		enrichments.
 *
 * A document may be large and may contain anything.  It stays a text, which is scanned
 * (base/scan.h), and only what is kept of it becomes a value.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_ANSWER_H
#define MIXPEEK_ANSWER_H

#include "base/scan.h"
#include "nodes/pg_list.h"
#include "remote/http.h"
#include "utils/jsonb.h"

/* Bounds of enrichments that are kept: such a value can be dumped, restored and displayed. */
#define MAX_ENRICHMENT_BYTES	(1024 * 1024)
#define MAX_ENRICHMENT_VALUES	100000
#define MAX_ENRICHMENT_DEPTH	64

/* What is kept of a document.  Everything is palloc'd, and in the database encoding. */
typedef struct AnswerDocument
{
	char	   *document_id;	/* NULL if there is none, or no valid one */
	Jsonb	   *enrichments;	/* NULL if there are none, or they are not
								 * kept */
	char	   *unkept;			/* why there are enrichments that are not
								 * kept, or NULL */
	List	   *fields;			/* those of the given root-level fields that
								 * it has, as char * */
	JsonText	metadata;		/* within the text; start is NULL if there are
								 * none */
} AnswerDocument;

/* Check whether the body is UTF-8, which the other functions here require. */
extern bool answer_is_utf8(const HttpAnswer *answer);

/* What a mirror has sent of a document, which is no enrichment.  All lists are of char *. */
typedef struct SentNames
{
	List	   *names;			/* of root-level fields, and of metadata */
	bool		all_metadata;	/* are all names of metadata among them? */
	List	   *fields;			/* of root-level fields of earlier templates,
								 * too */
} SentNames;

/*
 * Read a document from a text that ends at "end" with a NUL.  JSON of any kind is read without
 * error.  Return false if it is not JSON; *wrong is then where it is wrong.  Which of the sent fields the
 * document has is a part of the result.  If all names of metadata are known, others are enrichments, too:
 * as an object under the name "metadata".
 */
extern bool answer_document(const char *text, const char *end, const SentNames *sent,
							AnswerDocument *document, const char **wrong);

/*
 * Read id and marker of a document in a list, a text that was scanned and is an object.  Each is
 * palloc'd, or NULL if the document has none or no valid one.
 */
extern void answer_listed(const JsonText *text, char **document_id, char **marker);

#endif							/* MIXPEEK_ANSWER_H */
