/*-------------------------------------------------------------------------
 *
 * api_functions.c
 *		The API's document endpoints as SQL functions.
 *
 * Each call sends one request (list_documents: one a page) with the caller's own user mapping
 * and waits for the answer; a cancel ends the wait at once.  A rollback of the transaction does
 * not undo what the API did.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/json.h"
#include "entry/function_arguments.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "remote/call.h"
#include "remote/contract.h"
#include "remote/listing.h"
#include "remote/server.h"
#include "remote/url.h"
#include "utils/builtins.h"
#include "utils/json.h"

PG_FUNCTION_INFO_V1(mixpeek_create_document);
PG_FUNCTION_INFO_V1(mixpeek_get_document);
PG_FUNCTION_INFO_V1(mixpeek_update_document);
PG_FUNCTION_INFO_V1(mixpeek_delete_document);
PG_FUNCTION_INFO_V1(mixpeek_list_documents);

/* Return the answer, which must be a document, as the function's result. */
static Datum
document_datum(Jsonb *answer)
{
	JsonbValue *document_id = answer ? json_member(&answer->root, "document_id") : NULL;

	if (document_id == NULL || document_id->type != jbvString)
		call_raise_unexpected("an object with a document_id");
	return JsonbPGetDatum(answer);
}

/*
 * Arguments
 */

/* Return a text argument that becomes a step of a URL's path. */
static char *
path_argument(FunctionCallInfo fcinfo, int argument, const char *name)
{
	char	   *part;

	function_argument_check(fcinfo, argument, name);
	part = text_to_cstring(PG_GETARG_TEXT_PP(argument));

	/* "." and ".." are steps to other paths, even if escaped as %2E */
	if (part[0] == '\0' || strcmp(part, ".") == 0 || strcmp(part, "..") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid %s: \"%s\"", name, part)));
	return part;
}

/* Return the server that the argument names, as the current user may use it. */
static MixpeekServer *
server_argument(FunctionCallInfo fcinfo, int argument)
{
	function_argument_check(fcinfo, argument, "server");
	return mixpeek_server_get(NameStr(*PG_GETARG_NAME(argument)), GetUserId());
}

static bool
flag_argument(FunctionCallInfo fcinfo, int argument)
{
	return !PG_ARGISNULL(argument) && PG_GETARG_BOOL(argument);
}

/* Write the path of a collection's documents, or of one of them unless document_id is NULL. */
static void
write_path(StringInfo path, const char *collection, const char *document_id)
{
	initStringInfo(path);
	url_append_documents(path, pg_server_to_any(collection, strlen(collection), PG_UTF8));
	if (document_id)
	{
		appendStringInfoChar(path, '/');
		url_append_escaped(path, pg_server_to_any(document_id, strlen(document_id), PG_UTF8));
	}
}

/* Return a jsonb argument, or NULL. */
static Jsonb *
jsonb_argument(FunctionCallInfo fcinfo, int argument)
{
	return PG_ARGISNULL(argument) ? NULL : PG_GETARG_JSONB_P(argument);
}

/*
 * create_document(collection, source_details, metadata, features, extra, server)
 */

/* Check that extra is an object, and has no field that is given as an argument. */
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

/* Append the members of extra to the text of an object that has some already. */
static void
append_extra(StringInfo body, Jsonb *extra)
{
	char	   *members = JsonbToCString(NULL, &extra->root, VARSIZE(extra));

	if (JB_ROOT_COUNT(extra) == 0)
		return;
	appendStringInfoChar(body, ',');
	appendBinaryStringInfo(body, members + 1, strlen(members) - 2);
}

/* Return the body of a create; raise an error if it is not as the API's contract says. */
static char *
create_body(FunctionCallInfo fcinfo, const char *collection)
{
	Jsonb	   *extra = jsonb_argument(fcinfo, 4);
	StringInfoData body;

	initStringInfo(&body);
	appendStringInfoChar(&body, '{');
	json_append_name(&body, "collection_id");
	escape_json(&body, collection);
	json_append_member(&body, "source_details", jsonb_argument(fcinfo, 1));
	json_append_member(&body, "metadata", jsonb_argument(fcinfo, 2));
	json_append_member(&body, "features", jsonb_argument(fcinfo, 3));
	if (extra)
	{
		check_extra(fcinfo, extra);
		append_extra(&body, extra);
	}

	/* the contract of 2025-09 requires it, that of 2026-02 accepts it */
	if (PG_ARGISNULL(1) && !(extra && json_member(&extra->root, "source_details")))
	{
		json_append_name(&body, "source_details");
		appendStringInfoString(&body, "[]");
	}
	appendStringInfoChar(&body, '}');
	contract_check_text(&contract_create, body.data);
	return body.data;
}

Datum
mixpeek_create_document(PG_FUNCTION_ARGS)
{
	char	   *collection = path_argument(fcinfo, 0, "collection");
	char	   *body = create_body(fcinfo, collection);
	MixpeekServer *server = server_argument(fcinfo, 5);
	StringInfoData path;

	write_path(&path, collection, NULL);
	PG_RETURN_DATUM(document_datum(call_api(server, HTTP_POST, path.data, body)));
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

	/*
	 * the name of 2025-09, and that of 2026-02; each contract ignores the
	 * other one
	 */
	write_path(&path, collection, document_id);
	if (return_url)
		appendStringInfoString(&path, "?return_url=true&return_presigned_urls=true");
	if (flag_argument(fcinfo, 3))
		appendStringInfo(&path, "%creturn_vectors=true", return_url ? '&' : '?');
	PG_RETURN_DATUM(document_datum(call_api(server, HTTP_GET, path.data, NULL)));
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
	char	   *body;

	function_argument_check(fcinfo, 2, "document");
	document = PG_GETARG_JSONB_P(2);
	contract_check(&contract_update, document, NULL, NULL);
	server = server_argument(fcinfo, 3);
	body = JsonbToCString(NULL, &document->root, VARSIZE(document));
	write_path(&path, collection, document_id);
	PG_RETURN_DATUM(document_datum(call_api(server, HTTP_PUT, path.data, body)));
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

	write_path(&path, collection, document_id);
	answer = call_api(server, HTTP_DELETE, path.data, NULL);
	if (answer == NULL)
		PG_RETURN_NULL();		/* 204 has no body */
	if (!JB_ROOT_IS_OBJECT(answer))
		call_raise_unexpected("an object");
	PG_RETURN_JSONB_P(answer);
}

/*
 * list_documents(collection, filters, sort, search, max_documents, return_url,
 *				  return_vectors, server)
 *
 * A call returns one row, and requests the next page only when it is needed, so that in a
 * select list a LIMIT ends the paging.  One page is in memory at a time.
 */

static ListPager *
open_listing(FunctionCallInfo fcinfo)
{
	char	   *collection = path_argument(fcinfo, 0, "collection");
	ListQuery	query;

	query.filters = jsonb_argument(fcinfo, 1);
	query.sort = jsonb_argument(fcinfo, 2);
	query.search = PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3));
	query.max_documents = PG_ARGISNULL(4) ? -1 : PG_GETARG_INT64(4);
	query.return_url = flag_argument(fcinfo, 5);
	query.return_vectors = flag_argument(fcinfo, 6);
	if (!PG_ARGISNULL(4) && query.max_documents <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_documents must be greater than zero")));
	return listing_open(server_argument(fcinfo, 7), collection, &query);
}

Datum
mixpeek_list_documents(PG_FUNCTION_ARGS)
{
	FuncCallContext *call;
	JsonText	document;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old;

		call = SRF_FIRSTCALL_INIT();
		old = MemoryContextSwitchTo(call->multi_call_memory_ctx);
		call->user_fctx = open_listing(fcinfo);
		MemoryContextSwitchTo(old);
	}
	call = SRF_PERCALL_SETUP();
	if (listing_next(call->user_fctx, &document))
		SRF_RETURN_NEXT(call, JsonbPGetDatum(listing_document_jsonb(&document)));
	SRF_RETURN_DONE(call);
}
