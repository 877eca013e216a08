/*-------------------------------------------------------------------------
 *
 * api_functions.c
 *		The API's document endpoints as SQL functions.
 *
 * Each call is one request (list_documents: one a page), sent with the caller's
 * own user mapping and waited for; a cancel ends the wait at once.  What the API
 * did is not undone when the transaction rolls back.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/json.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "remote/contract.h"
#include "remote/http.h"
#include "remote/response.h"
#include "remote/server.h"
#include "remote/url.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#define PAGE_SIZE		100
#define MAX_CURSOR		4096	/* bytes; it becomes a part of a URL */

PG_FUNCTION_INFO_V1(mixpeek_create_document);
PG_FUNCTION_INFO_V1(mixpeek_get_document);
PG_FUNCTION_INFO_V1(mixpeek_update_document);
PG_FUNCTION_INFO_V1(mixpeek_delete_document);
PG_FUNCTION_INFO_V1(mixpeek_list_documents);

/*
 * Requests
 */

/* The session's client; it keeps connections alive from call to call. */
static HttpClient *
session_client(void)
{
	static HttpClient *client = NULL;

	if (client == NULL)
	{
		MemoryContext context = AllocSetContextCreate(TopMemoryContext,
													  "mixpeek_docs HTTP client",
													  ALLOCSET_DEFAULT_SIZES);
		MemoryContext old = MemoryContextSwitchTo(context);

		PG_TRY();
		{
			client = http_client_create(false);
		}
		PG_CATCH();
		{
			MemoryContextSwitchTo(old);
			MemoryContextDelete(context);
			PG_RE_THROW();
		}
		PG_END_TRY();
		MemoryContextSwitchTo(old);
	}
	return client;
}

pg_noreturn static void
raise_response(const Response *response)
{
	ereport(ERROR,
			(errcode(response->sqlstate),
			 errmsg_internal("%s", response->message),
			 response->detail ? errdetail_internal("%s", response->detail) : 0,
			 response->hint ? errhint("%s", response->hint) : 0));
}

/* Waits for the client's only transfer, which has just been started. */
static Response *
wait_for_answer(HttpClient *client)
{
	HttpTransfer *ended;

	while ((ended = http_next_ended(client)) == NULL)
	{
		http_wait(client, -1, COMPAT_WAIT_EVENT);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return response_read(http_transfer_answer(ended), true);
}

/*
 * Sends a request and returns the API's answer.  Raises what the response says
 * if it is not a success.  path and body are in the database encoding.
 */
static Jsonb *
request(const MixpeekServer *server, HttpMethod method, const char *path, const char *body)
{
	HttpClient *client = session_client();
	char	   *utf8 = body ? pg_server_to_any(body, strlen(body), PG_UTF8) : NULL;
	HttpTransfer *transfer;
	Response   *volatile response = NULL;

	transfer = http_start(client, server, method, path, utf8,
						  utf8 ? strlen(utf8) : 0, 0, NULL);
	PG_TRY();
	{
		response = wait_for_answer(client);
	}
	PG_FINALLY();
	{
		http_transfer_free(transfer);
	}
	PG_END_TRY();
	if (response->verdict != VERDICT_DONE)
		raise_response(response);
	return response->json;
}

pg_noreturn static void
unexpected_answer(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("Mixpeek API sent an unexpected answer"),
			 errdetail("The answer is not %s.", what),
			 errhint("The API may have carried the request out.")));
}

/* Checks that the answer is a document. */
static Datum
document_datum(Jsonb *answer)
{
	JsonbValue *document_id = answer ? json_member(&answer->root, "document_id") : NULL;

	if (document_id == NULL || document_id->type != jbvString)
		unexpected_answer("an object with a document_id");
	return JsonbPGetDatum(answer);
}

/*
 * Arguments
 */

static void
check_not_null(FunctionCallInfo fcinfo, int argument, const char *name)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}

/* A text argument that becomes a part of the path. */
static char *
path_argument(FunctionCallInfo fcinfo, int argument, const char *name)
{
	char	   *part;

	check_not_null(fcinfo, argument, name);
	part = text_to_cstring(PG_GETARG_TEXT_PP(argument));

	/* a dot is a step within the path, even if it is written as %2E */
	if (part[0] == '\0' || strcmp(part, ".") == 0 || strcmp(part, "..") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid %s: \"%s\"", name, part)));
	return part;
}

static MixpeekServer *
server_argument(FunctionCallInfo fcinfo, int argument)
{
	check_not_null(fcinfo, argument, "server");
	return mixpeek_server_get(NameStr(*PG_GETARG_NAME(argument)), GetUserId());
}

static bool
flag_argument(FunctionCallInfo fcinfo, int argument)
{
	return !PG_ARGISNULL(argument) && PG_GETARG_BOOL(argument);
}

/* "/v1/collections/{collection}/documents", and "/{last}" if that is not NULL. */
static void
start_path(StringInfo path, const char *collection, const char *last)
{
	initStringInfo(path);
	url_append_documents(path, pg_server_to_any(collection, strlen(collection), PG_UTF8));
	if (last)
	{
		appendStringInfoChar(path, '/');
		url_append_escaped(path, pg_server_to_any(last, strlen(last), PG_UTF8));
	}
}

/* Appends the name of a member, and a comma unless it is the first one. */
static void
append_member(StringInfo body, const char *name)
{
	if (body->data[body->len - 1] != '{')
		appendStringInfoChar(body, ',');
	escape_json(body, name);
	appendStringInfoChar(body, ':');
}

static void
append_jsonb(StringInfo body, Jsonb *value)
{
	(void) JsonbToCString(body, &value->root, VARSIZE(value));
}

/* Appends an argument as a member, unless it is null. */
static void
append_argument(StringInfo body, const char *name, FunctionCallInfo fcinfo, int argument)
{
	if (PG_ARGISNULL(argument))
		return;
	append_member(body, name);
	append_jsonb(body, PG_GETARG_JSONB_P(argument));
}

/* Checks a body that is a whole JSON object. */
static void
check_body(const ContractType *type, const char *body)
{
	contract_check(type, DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(body))),
				   NULL, NULL);
}

/*
 * create_document(collection, source_details, metadata, features, extra, server)
 */

static void
check_extra(FunctionCallInfo fcinfo, Jsonb *extra)
{
	static const char *const names[] = {"collection_id", "source_details", "metadata", "features"};

	if (!JB_ROOT_IS_OBJECT(extra))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("extra must be an object")));
	for (int i = 0; i < (int) lengthof(names); i++)
		if (!PG_ARGISNULL(i) && json_member(&extra->root, names[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("extra must not have the field \"%s\"", names[i]),
					 errdetail("It is an argument of its own.")));
}

/* Appends the members of extra to an object that has some already. */
static void
append_extra(StringInfo body, Jsonb *extra)
{
	StringInfoData members;

	if (JB_ROOT_COUNT(extra) == 0)
		return;
	initStringInfo(&members);
	append_jsonb(&members, extra);
	appendStringInfoChar(body, ',');
	appendBinaryStringInfo(body, members.data + 1, members.len - 2);
}

static char *
create_body(FunctionCallInfo fcinfo, const char *collection)
{
	Jsonb	   *extra = PG_ARGISNULL(4) ? NULL : PG_GETARG_JSONB_P(4);
	StringInfoData body;

	initStringInfo(&body);
	appendStringInfoChar(&body, '{');
	append_member(&body, "collection_id");
	escape_json(&body, collection);
	append_argument(&body, "source_details", fcinfo, 1);
	append_argument(&body, "metadata", fcinfo, 2);
	append_argument(&body, "features", fcinfo, 3);
	if (extra)
	{
		check_extra(fcinfo, extra);
		append_extra(&body, extra);
	}

	/* 2025-09 requires it, 2026-02 does not mind */
	if (PG_ARGISNULL(1) && !(extra && json_member(&extra->root, "source_details")))
	{
		append_member(&body, "source_details");
		appendStringInfoString(&body, "[]");
	}
	appendStringInfoChar(&body, '}');
	check_body(&contract_create, body.data);
	return body.data;
}

Datum
mixpeek_create_document(PG_FUNCTION_ARGS)
{
	char	   *collection = path_argument(fcinfo, 0, "collection");
	char	   *body = create_body(fcinfo, collection);
	MixpeekServer *server = server_argument(fcinfo, 5);
	StringInfoData path;

	start_path(&path, collection, NULL);
	PG_RETURN_DATUM(document_datum(request(server, HTTP_POST, path.data, body)));
}

/*
 * get_document(collection, document_id, return_url, return_vectors, server)
 */

Datum
mixpeek_get_document(PG_FUNCTION_ARGS)
{
	char	   *collection = path_argument(fcinfo, 0, "collection");
	char	   *document_id = path_argument(fcinfo, 1, "document_id");
	bool		return_url = flag_argument(fcinfo, 2);
	MixpeekServer *server = server_argument(fcinfo, 4);
	StringInfoData path;

	/* its name in 2025-09, and in 2026-02; each ignores the other's */
	start_path(&path, collection, document_id);
	if (return_url)
		appendStringInfoString(&path, "?return_url=true&return_presigned_urls=true");
	if (flag_argument(fcinfo, 3))
		appendStringInfo(&path, "%creturn_vectors=true", return_url ? '&' : '?');
	PG_RETURN_DATUM(document_datum(request(server, HTTP_GET, path.data, NULL)));
}

/*
 * update_document(collection, document_id, document, server)
 */

Datum
mixpeek_update_document(PG_FUNCTION_ARGS)
{
	char	   *collection = path_argument(fcinfo, 0, "collection");
	char	   *document_id = path_argument(fcinfo, 1, "document_id");
	MixpeekServer *server;
	Jsonb	   *document;
	StringInfoData path;
	StringInfoData body;

	check_not_null(fcinfo, 2, "document");
	document = PG_GETARG_JSONB_P(2);
	contract_check(&contract_update, document, NULL, NULL);
	server = server_argument(fcinfo, 3);
	initStringInfo(&body);
	append_jsonb(&body, document);
	start_path(&path, collection, document_id);
	PG_RETURN_DATUM(document_datum(request(server, HTTP_PUT, path.data, body.data)));
}

/*
 * delete_document(collection, document_id, server)
 */

Datum
mixpeek_delete_document(PG_FUNCTION_ARGS)
{
	char	   *collection = path_argument(fcinfo, 0, "collection");
	char	   *document_id = path_argument(fcinfo, 1, "document_id");
	MixpeekServer *server = server_argument(fcinfo, 2);
	StringInfoData path;
	Jsonb	   *answer;

	start_path(&path, collection, document_id);
	answer = request(server, HTTP_DELETE, path.data, NULL);
	if (answer == NULL)
		PG_RETURN_NULL();		/* 204: done, and nothing to say */
	if (!JB_ROOT_IS_OBJECT(answer))
		unexpected_answer("an object");
	PG_RETURN_JSONB_P(answer);
}

/*
 * list_documents(collection, filters, sort, search, max_documents, return_url,
 *				  return_vectors, server)
 *
 * Returns a row a call and asks for the next page only when one is needed, so that
 * in a select list a LIMIT ends the paging.  One page is in memory at a time.
 */

typedef struct Listing
{
	MixpeekServer *server;
	char	   *path;
	char	   *body;
	int64		wanted;			/* documents still to be returned, or -1: all */
	int64		received;
	char	   *cursor;			/* of the next page; NULL: use the offset */
	bool		last;			/* is there no page after this one? */
	MemoryContext page_context; /* what follows is in it */
	JsonbContainer *results;
	int			nresults;
	int			next;
} Listing;

static char *
list_body(FunctionCallInfo fcinfo)
{
	StringInfoData body;

	initStringInfo(&body);
	appendStringInfoChar(&body, '{');
	append_argument(&body, "filters", fcinfo, 1);
	append_argument(&body, "sort", fcinfo, 2);
	if (!PG_ARGISNULL(3))
	{
		append_member(&body, "search");
		escape_json(&body, text_to_cstring(PG_GETARG_TEXT_PP(3)));
	}
	if (flag_argument(fcinfo, 5))
	{
		append_member(&body, "return_url");
		appendStringInfoString(&body, "true");
	}
	if (flag_argument(fcinfo, 6))
	{
		append_member(&body, "return_vectors");
		appendStringInfoString(&body, "true");
	}
	appendStringInfoChar(&body, '}');
	check_body(&contract_list, body.data);
	return body.data;
}

static Listing *
start_listing(FunctionCallInfo fcinfo)
{
	Listing    *listing = palloc0(sizeof(Listing));
	char	   *collection = path_argument(fcinfo, 0, "collection");
	StringInfoData path;

	listing->wanted = PG_ARGISNULL(4) ? -1 : PG_GETARG_INT64(4);
	if (!PG_ARGISNULL(4) && listing->wanted <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_documents must be greater than zero")));
	listing->body = list_body(fcinfo);
	listing->server = server_argument(fcinfo, 7);
	start_path(&path, collection, "list");
	listing->path = path.data;
	listing->page_context = AllocSetContextCreate(CurrentMemoryContext,
												  "mixpeek_docs page",
												  ALLOCSET_DEFAULT_SIZES);
	return listing;
}

static char *
page_path(const Listing *listing, int page_size)
{
	StringInfoData path;

	initStringInfo(&path);
	appendStringInfo(&path, "%s?limit=%d", listing->path, page_size);
	if (listing->cursor)
	{
		appendStringInfoString(&path, "&cursor=");
		url_append_escaped(&path, pg_server_to_any(listing->cursor,
												   strlen(listing->cursor), PG_UTF8));
	}
	else
		appendStringInfo(&path, "&offset=" INT64_FORMAT, listing->received);
	return path.data;
}

/* A field of the answer's pagination, or NULL. */
static JsonbValue *
pagination_field(Jsonb *answer, const char *name)
{
	JsonbValue *pagination = json_member(&answer->root, "pagination");

	if (pagination == NULL || pagination->type != jbvBinary)
		return NULL;
	return json_member(pagination->val.binary.data, name);
}

/*
 * Is the page shorter than it had to be?  The server may have its own idea of
 * a page's size, and then says so.
 */
static bool
is_short_page(Jsonb *answer, int nresults, int page_size)
{
	JsonbValue *size = pagination_field(answer, "page_size");
	JsonbValue *next = pagination_field(answer, "next_page");

	if (next && next->type == jbvString)
		return false;
	if (size && size->type == jbvNumeric)
	{
		Datum		n = DirectFunctionCall2(numeric_smaller,
											NumericGetDatum(size->val.numeric),
											DirectFunctionCall1(int4_numeric, Int32GetDatum(page_size)));

		if (DatumGetInt32(DirectFunctionCall2(numeric_cmp, n, DirectFunctionCall1(int4_numeric, Int32GetDatum(0)))) < 0)
			unexpected_answer("a list whose page_size can be one");
		page_size = DatumGetInt32(DirectFunctionCall1(numeric_int4, n));
	}
	return nresults < page_size;
}

/* Remembers where the next page is. */
static void
note_next_page(Listing *listing, Jsonb *answer, int page_size)
{
	JsonbValue *cursor = pagination_field(answer, "next_cursor");
	char	   *next = NULL;

	if (cursor && cursor->type == jbvString && cursor->val.string.len > 0)
		next = MemoryContextStrdup(GetMemoryChunkContext(listing),
								   pnstrdup(cursor->val.string.val, cursor->val.string.len));
	if (next && strlen(next) > MAX_CURSOR)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("Mixpeek API sent a cursor of more than %d bytes", MAX_CURSOR)));
	if (next && listing->cursor && strcmp(next, listing->cursor) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("Mixpeek API sent the same page's cursor twice")));
	listing->last = listing->nresults == 0 ||
		(next == NULL && (listing->cursor != NULL ||
						  is_short_page(answer, listing->nresults, page_size)));
	if (listing->cursor)
		pfree(listing->cursor);
	listing->cursor = next;
}

static void
take_page(Listing *listing, Jsonb *answer, int page_size)
{
	JsonbValue *results = answer ? json_member(&answer->root, "results") : NULL;

	listing->next = 0;
	listing->nresults = 0;
	if (results && results->type == jbvBinary &&
		JsonContainerIsArray(results->val.binary.data))
	{
		listing->results = results->val.binary.data;
		listing->nresults = JsonContainerSize(listing->results);
	}
	else if (results == NULL || results->type != jbvNull)
		unexpected_answer("an object with a results array");
	listing->received += listing->nresults;
	note_next_page(listing, answer, page_size);
}

static void
fetch_page(Listing *listing)
{
	MemoryContext old;
	int			page_size = PAGE_SIZE;

	if (listing->wanted >= 0)
		page_size = (int) Min(listing->wanted, PAGE_SIZE);
	MemoryContextReset(listing->page_context);
	old = MemoryContextSwitchTo(listing->page_context);
	take_page(listing,
			  request(listing->server, HTTP_POST, page_path(listing, page_size), listing->body),
			  page_size);
	MemoryContextSwitchTo(old);
}

/* The next document in the current memory context, or NULL. */
static Jsonb *
next_document(Listing *listing)
{
	JsonbValue *document;

	if (listing->wanted == 0)
		return NULL;
	while (listing->next >= listing->nresults)
	{
		if (listing->last)
			return NULL;
		fetch_page(listing);
	}
	if (listing->wanted > 0)
		listing->wanted--;
	document = getIthJsonbValueFromContainer(listing->results, listing->next++);
	if (document->type != jbvBinary || !JsonContainerIsObject(document->val.binary.data))
		unexpected_answer("an object whose results are objects");
	return JsonbValueToJsonb(document);
}

Datum
mixpeek_list_documents(PG_FUNCTION_ARGS)
{
	FuncCallContext *call;
	Jsonb	   *document;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old;

		call = SRF_FIRSTCALL_INIT();
		old = MemoryContextSwitchTo(call->multi_call_memory_ctx);
		call->user_fctx = start_listing(fcinfo);
		MemoryContextSwitchTo(old);
	}
	call = SRF_PERCALL_SETUP();
	document = next_document(call->user_fctx);
	if (document)
		SRF_RETURN_NEXT(call, JsonbPGetDatum(document));
	SRF_RETURN_DONE(call);
}
