/*-------------------------------------------------------------------------
 *
 * response.c
 *		The result of a request, for the worker and for sessions: what its
 *		status means (status.h), and the API's own words.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <limits.h>
#include <math.h>

#include "base/json.h"
#include "base/scan.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "remote/fitting.h"
#include "remote/response.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

/* Bounds of what messages and details have of an answer: bytes, but for MAX_FIELDS. */
#define MAX_EXCERPT		200		/* the beginning of an answer that is not JSON */
#define MAX_TEXT		1000	/* one text of the API's error */
#define MAX_TYPE		64		/* the error's type, in the message */
#define MAX_FIELDS		10		/* number of rejected fields */
#define MAX_PATH_PART	100		/* one step of a rejected field's path */
#define MAX_DETAIL		1800	/* the whole detail, but for the request's id */

#define REQUEST_ID		"The API's id of the request is "

/* Bounds of an answer that is read as an error of the API; of a larger one the beginning is shown. */
static const JsonBounds error_bounds = {64, 10000, 256 * 1024};
static const JsonBounds session_bounds = {MAX_SESSION_DEPTH, MAX_SESSION_VALUES, MAX_SESSION_BYTES};

/*
 * Remote text
 */

/* Check whether the character is invisible, or changes how others are displayed (controls, directions). */
static bool
is_invisible(pg_wchar c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x61c || c == 0x180e ||
		(c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) ||
		c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb) || (c >= 0xe0000 && c <= 0xe0fff);
}

/*
 * Return the character at p, for is_invisible().  Encodings that have no invisible characters
 * beyond ASCII give a visible one.
 */
static pg_wchar
character_at(const char *p)
{
	unsigned char c = *p;
	int			encoding = GetDatabaseEncoding();

	if (c < 0x80)
		return c;
	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
		return utf8_to_unicode((const unsigned char *) p);
	if ((encoding >= PG_LATIN1 && encoding <= PG_LATIN10) ||
		(encoding >= PG_ISO_8859_5 && encoding <= PG_ISO_8859_8))
		return c;				/* 0x80 to 0x9f are the same controls as in
								 * Unicode */
	return '?';
}

void
response_append_remote(StringInfo dst, const char *text, size_t len, int max)
{
	bool		utf8 = GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII;
	int			n = pg_encoding_mbcliplen(utf8 ? PG_UTF8 : GetDatabaseEncoding(),
										  text, (int) Min(len, INT_MAX), max);

	for (int i = 0; i < n;)
	{
		int			bytes = utf8 ? pg_encoding_mblen(PG_UTF8, text + i) : pg_mblen(text + i);

		if (i + bytes > n)
			break;
		if (!is_invisible(character_at(text + i)))
			appendBinaryStringInfo(dst, text + i, bytes);
		else if ((unsigned char) text[i] < 0x80)
			appendStringInfoChar(dst, ' ');
		i += bytes;
	}
	if ((size_t) n < len)
		appendStringInfoString(dst, "...");
}

/* Append the beginning of bytes that may be in any encoding. */
static void
append_excerpt(StringInfo dst, const char *bytes, size_t len)
{
	int			shown = (int) Min(len, MAX_EXCERPT);
	int			valid = GetDatabaseEncoding() == PG_UTF8 ?
		pg_encoding_verifymbstr(PG_UTF8, bytes, shown) : 0;

	response_append_remote(dst, bytes, valid, MAX_EXCERPT);
	for (int i = valid; i < shown; i++)
	{
		unsigned char c = bytes[i];

		if (c < ' ' || c == 0x7f)
			appendStringInfoChar(dst, ' ');
		else if (c < 0x80)
			appendStringInfoChar(dst, c);
		else if ((c & 0xC0) != 0x80)
			appendStringInfoChar(dst, '?');
	}
	if ((size_t) shown < len)
		appendStringInfoString(dst, "...");
}

/*
 * JSON
 */

/*
 * Return a JSON text as jsonb, or NULL and why it cannot be one.  jsonb_in() raises what is wrong
 * with its input.  Catching the error without a subtransaction is safe, because jsonb_in() takes
 * nothing but memory of the current context: it reads no catalog and holds no lock, pin or other
 * resource.  Errors of class 57 (a cancel) are raised again; every other error is due to the text.
 */
static Jsonb *
parse_json(const char *text, char **error)
{
	MemoryContext context = CurrentMemoryContext;
	Jsonb	   *volatile json = NULL;

	*error = NULL;
	PG_TRY();
	{
		json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(context);
		edata = CopyErrorData();
		if (ERRCODE_TO_CATEGORY(edata->sqlerrcode) == ERRCODE_TO_CATEGORY(ERRCODE_QUERY_CANCELED))
			PG_RE_THROW();
		FlushErrorState();
		*error = edata->detail ?
			psprintf("%s: %s", edata->message, edata->detail) :
			pstrdup(edata->message);
		FreeErrorData(edata);
	}
	PG_END_TRY();
	return json;
}

/*
 * Return JSON in UTF-8 as JSON in ASCII.  jsonb_in() converts the escapes to the database encoding
 * with a function that the session has loaded already, while converting the text itself would
 * read the catalog.
 */
static char *
escape_non_ascii(const char *text, size_t len)
{
	StringInfoData ascii;
	const unsigned char *p = (const unsigned char *) text;
	const unsigned char *end = p + len;

	initStringInfo(&ascii);
	while (p < end)
	{
		pg_wchar	c;

		if (*p < 0x80)
		{
			appendStringInfoChar(&ascii, *p++);
			continue;
		}
		c = utf8_to_unicode(p);
		p += pg_encoding_mblen(PG_UTF8, (const char *) p);
		if (c >= 0x10000)
			appendStringInfo(&ascii, "\\u%04x\\u%04x",
							 0xD800 + ((c - 0x10000) >> 10),
							 0xDC00 + ((c - 0x10000) & 0x3FF));
		else
			appendStringInfo(&ascii, "\\u%04x", c);
	}
	return ascii.data;
}

/*
 * Return JSON with the characters that are written as \uXXXX beyond ASCII replaced by themselves.  In
 * an SQL_ASCII database texts are bytes, and jsonb_in() cannot know that these are to be UTF-8.
 */
static char *
unescape_non_ascii(const char *text, size_t len)
{
	StringInfoData plain;
	const char *p = text;
	const char *end = text + len;

	initStringInfo(&plain);
	while (p < end)
	{
		unsigned char bytes[5];
		const char *next;

		if (*p != '\\')
		{
			appendStringInfoChar(&plain, *p++);
			continue;
		}
		next = scan_escape(p, bytes);
		if (bytes[0] >= 0x80 && pg_utf8_islegal(bytes, strlen((char *) bytes)))
			appendStringInfoString(&plain, (char *) bytes);
		else
			appendBinaryStringInfo(&plain, p, next - p);
		p = next;
	}
	return plain.data;
}

/* Return a text in UTF-8 as a text that jsonb_in() reads. */
static char *
to_input(const char *text, size_t len)
{
	if (GetDatabaseEncoding() == PG_UTF8)
		return pnstrdup(text, len);
	return GetDatabaseEncoding() == PG_SQL_ASCII ? unescape_non_ascii(text, len) : escape_non_ascii(text, len);
}

Jsonb *
response_parse_utf8(const char *text, size_t len, char **error)
{
	char	   *copy = to_input(text, len);
	Jsonb	   *json = parse_json(copy, error);

	pfree(copy);
	return json;
}

char *
response_describe_wrong(const HttpAnswer *answer, const char *wrong)
{
	return psprintf("it is no JSON from byte %zu on", (size_t) (wrong - answer->body) + 1);
}

/* Return NULL if the body is JSON within the bounds; else why not, and whether it is too large. */
static char *
check_body(const HttpAnswer *answer, const JsonBounds *bounds, bool *too_large)
{
	JsonText	text;
	char	   *excess;

	*too_large = false;
	if ((size_t) pg_encoding_verifymbstr(PG_UTF8, answer->body, (int) answer->body_len) != answer->body_len)
		return pstrdup("it is not UTF-8");
	if (!scan_text(answer->body, answer->body_len, &text))
		return response_describe_wrong(answer, text.end);
	excess = scan_excess(&text, bounds);
	*too_large = excess != NULL;
	return excess ? psprintf("it has %s", excess) : NULL;
}

/* Return the body as jsonb, or NULL if it is not JSON, too large or not possible as jsonb. */
static Jsonb *
parse_error_body(const HttpAnswer *answer)
{
	bool		too_large;
	int			nleft_out;
	char	   *error;

	if (check_body(answer, &error_bounds, &too_large) != NULL)
		return NULL;
	return fitting_parse(answer->body, answer->body_len, &nleft_out, &error);
}

static JsonbValue *
find_string(JsonbContainer *container, const char *name)
{
	JsonbValue *value = json_member(container, name);

	return value && value->type == jbvString ? value : NULL;
}

/*
 * The API's errors: ErrorResponse, and FastAPI's HTTPValidationError
 */

static void
append_string(StringInfo dst, const JsonbValue *string, int max)
{
	response_append_remote(dst, string->val.string.val, string->val.string.len, max);
}

static void
append_numeric(StringInfo dst, const JsonbValue *number)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number->val.numeric)));

	response_append_remote(dst, text, strlen(text), MAX_PATH_PART);
}

/* Append a path such as body.source_details.0.type; return whether there is one. */
static bool
append_path(StringInfo dst, JsonbContainer *path)
{
	int			start = dst->len;
	int			n = path && JsonContainerIsArray(path) ? JsonContainerSize(path) : 0;

	for (int i = 0; i < Min(n, 20); i++)
	{
		JsonbValue *part = getIthJsonbValueFromContainer(path, i);

		if (dst->len > start)
			appendStringInfoChar(dst, '.');
		if (part->type == jbvString)
			append_string(dst, part, MAX_PATH_PART);
		else if (part->type == jbvNumeric)
			append_numeric(dst, part);
	}
	return dst->len > start;
}

static void
append_rejected_field(StringInfo dst, JsonbContainer *field,
					  const char *path_name, const char *message_name)
{
	JsonbValue *message = find_string(field, message_name);

	if (dst->len > 0)
		appendStringInfoChar(dst, '\n');
	if (append_path(dst, json_member_container(field, path_name)))
		appendStringInfoString(dst, ": ");
	if (message)
		append_string(dst, message, MAX_TEXT);
}

/* Append one line for each field that a 422 rejects. */
static void
append_rejected_fields(StringInfo dst, JsonbContainer *fields,
					   const char *path_name, const char *message_name)
{
	int			n;

	if (fields == NULL || !JsonContainerIsArray(fields))
		return;
	n = JsonContainerSize(fields);
	for (int i = 0; i < Min(n, MAX_FIELDS); i++)
	{
		JsonbValue *field = getIthJsonbValueFromContainer(fields, i);

		if (field->type == jbvBinary)
			append_rejected_field(dst, field->val.binary.data, path_name, message_name);
	}
	if (n > MAX_FIELDS)
		appendStringInfo(dst, "\n(and %d more)", n - MAX_FIELDS);
}

/* Return the error's type, and its code (2026-10: ErrorDetail.code), with a space before it; or "". */
static const char *
error_type(JsonbContainer *root)
{
	JsonbValue *type = find_string(json_member_container(root, "error"), "type");
	JsonbValue *code = find_string(json_member_container(root, "error"), "code");
	StringInfoData text;

	if (type == NULL)
		return json_member_container(root, "detail") ? " ValidationError" : "";
	initStringInfo(&text);
	appendStringInfoChar(&text, ' ');
	append_string(&text, type, MAX_TYPE);
	if (code)
	{
		appendStringInfoString(&text, " (");
		append_string(&text, code, MAX_TYPE);
		appendStringInfoChar(&text, ')');
	}
	return text.data;
}

static void
append_error_detail(StringInfo dst, JsonbContainer *root)
{
	JsonbContainer *error = json_member_container(root, "error");
	JsonbValue *message = find_string(error, "message");

	if (message == NULL)
		message = find_string(root, "detail");
	if (message == NULL)
		message = find_string(root, "message");
	if (message)
		append_string(dst, message, MAX_TEXT);
	append_rejected_fields(dst,
						   json_member_container(json_member_container(error, "details"), "validation_errors"),
						   "location", "message");
	append_rejected_fields(dst, json_member_container(root, "detail"), "loc", "msg");
}

/*
 * Reading an answer
 */

/* Cut a detail to MAX_DETAIL; return NULL for an empty one. */
static char *
clip_detail(StringInfo detail)
{
	if (detail->len == 0)
		return NULL;
	if (detail->len > MAX_DETAIL)
	{
		detail->len = pg_mbcliplen(detail->data, detail->len, MAX_DETAIL);
		detail->data[detail->len] = '\0';
		appendStringInfoString(detail, "...");
	}
	return detail->data;
}

/* Return the API's own words about the error, or the beginning of an answer of another kind. */
static char *
failure_detail(const HttpAnswer *answer, JsonbContainer *root)
{
	StringInfoData detail;

	initStringInfo(&detail);
	if (root)
		append_error_detail(&detail, root);
	if (detail.len == 0 && answer->body_len > 0)
		append_excerpt(&detail, answer->body, answer->body_len);
	if (answer->request_id[0] == '\0')
		return clip_detail(&detail);
	return psprintf("%s%s" REQUEST_ID "%s", detail.len > 0 ? clip_detail(&detail) : "",
					detail.len > 0 ? "\n" : "", answer->request_id);
}

/* Return the hint, which says how long to wait if the answer does. */
static const char *
wait_hint(const HttpAnswer *answer, const StatusMeaning *meaning)
{
	double		seconds = answer->retry_after;

	if (seconds == HTTP_NO_HEADER && meaning->verdict == VERDICT_SLOW_DOWN)
		seconds = answer->reset;
	if (seconds == HTTP_NO_HEADER ||
		(meaning->verdict != VERDICT_SLOW_DOWN && meaning->verdict != VERDICT_UNSURE))
		return meaning->hint;
	return psprintf("Wait %.0f s before the next request.", ceil(seconds));
}

/* Read an answer whose status is not a success. */
static void
read_failure(Response *response, const HttpAnswer *answer,
			 const StatusMeaning *meaning)
{
	JsonbContainer *root;

	response->json = parse_error_body(answer);
	root = response->json ? &response->json->root : NULL;
	response->reason = psprintf("%s: %d", meaning->reason, answer->status);
	response->message = psprintf("%s%s", response->reason, error_type(root));
	response->detail = failure_detail(answer, root);
	response->hint = wait_hint(answer, meaning);
}

void
response_reject_unreadable(Response *response, const HttpAnswer *answer, const char *why)
{
	StringInfoData detail;

	initStringInfo(&detail);
	appendStringInfoString(&detail, "The answer cannot be read: ");
	response_append_remote(&detail, why, strlen(why), MAX_TEXT);
	if (answer->body_len > 0)
	{
		appendStringInfoString(&detail, "\nIt begins with: ");
		append_excerpt(&detail, answer->body, answer->body_len);
	}
	response->verdict = VERDICT_UNSURE;
	response->sqlstate = ERRCODE_PROTOCOL_VIOLATION;
	response->reason = "Mixpeek API sent an answer that is not valid JSON";
	response->message = pstrdup(response->reason);
	response->detail = clip_detail(&detail);
	response->hint = status_meaning(HTTP_BROKEN, 0)->hint;
}

void
response_reject(Response *response, Verdict verdict, const char *reason)
{
	response->verdict = verdict;
	response->sqlstate = ERRCODE_PROTOCOL_VIOLATION;
	response->reason = reason;
	response->message = pstrdup(reason);
}

/* Check the body of a success and, for RESPONSE_AS_JSONB, read it. */
static void
read_success(Response *response, const HttpAnswer *answer, ResponseUse use)
{
	const StatusMeaning *large = status_meaning(HTTP_TOO_LARGE, 0);
	bool		too_large;
	char	   *error;

	if (answer->status == 204)
		return;
	error = check_body(answer, &session_bounds, &too_large);
	if (error == NULL && use == RESPONSE_AS_JSONB)
		response->json = response_parse_utf8(answer->body, answer->body_len, &error);
	if (error == NULL)
		return;
	response_reject_unreadable(response, answer, error);
	if (!too_large)
		return;
	response->sqlstate = large->sqlstate;
	response->message = pstrdup(large->reason);
	response->detail = psprintf("The answer cannot be read: %s.", error);
}

/* Describe a transfer that broke. */
static void
read_end(Response *response, const HttpAnswer *answer, const StatusMeaning *meaning)
{
	StringInfoData detail;

	initStringInfo(&detail);
	append_excerpt(&detail, answer->error, strlen(answer->error));
	response->reason = meaning->reason;
	response->message = pstrdup(meaning->reason);
	response->detail = detail.len > 0 ? detail.data : NULL;
	response->hint = meaning->hint;
}

Response *
response_read(const HttpAnswer *answer, ResponseUse use)
{
	Response   *response = palloc0(sizeof(Response));
	const StatusMeaning *meaning = status_meaning(answer->end, answer->status);

	response->verdict = meaning->verdict;
	response->sqlstate = meaning->sqlstate;
	if (answer->end != HTTP_ANSWERED)
		read_end(response, answer, meaning);
	else if (meaning->verdict != VERDICT_DONE)
		read_failure(response, answer, meaning);
	else if (use != RESPONSE_UNREAD)
		read_success(response, answer, use);
	return response;
}
