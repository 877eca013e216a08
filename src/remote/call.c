/*-------------------------------------------------------------------------
 *
 * call.c
 *		One request that a session sends and waits for.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "remote/call.h"
#include "remote/response.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

/* Return the session's client, which is created at the first call. */
static HttpClient *
get_client(void)
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

/* Wait for the client's only transfer, which has just been started. */
static const HttpAnswer *
wait_for_transfer(HttpClient *client)
{
	HttpTransfer *ended;

	while ((ended = http_next_ended(client)) == NULL)
	{
		http_wait(client, -1, COMPAT_WAIT_EVENT);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return http_transfer_answer(ended);
}

/*
 * Send a request and wait for its answer; raise an error unless it is a success.  The text
 * of the answer goes to *text and *len, if text is not NULL.  refused: see call_api_for_text().
 */
static Response *
run_call(const MixpeekServer *server, HttpMethod method, const char *path, const char *body,
		 ResponseUse use, char **text, size_t *len, bool *refused)
{
	HttpClient *client = get_client();
	char	   *utf8 = body ? pg_server_to_any(body, strlen(body), PG_UTF8) : NULL;
	HttpTransfer *transfer = http_start(client, server, method, path, utf8, utf8 ? strlen(utf8) : 0, 0, NULL);
	Response   *volatile response = NULL;

	PG_TRY();
	{
		const HttpAnswer *answer = wait_for_transfer(client);

		response = response_read(answer, use);
		if (refused)
			*refused = answer->end == HTTP_ANSWERED && (answer->status == 400 || answer->status == 422);
		if (text && response->verdict == VERDICT_DONE && answer->status != 204)
		{
			*text = pnstrdup(answer->body, answer->body_len);
			*len = answer->body_len;
		}
	}
	PG_FINALLY();
	{
		http_transfer_free(transfer);
	}
	PG_END_TRY();
	if (response->verdict != VERDICT_DONE && !(refused && *refused))
		raise_response(response);
	return response;
}

Jsonb *
call_api(const MixpeekServer *server, HttpMethod method, const char *path, const char *body)
{
	return run_call(server, method, path, body, RESPONSE_AS_JSONB, NULL, NULL, NULL)->json;
}

char *
call_api_for_text(const MixpeekServer *server, HttpMethod method, const char *path,
				  const char *body, size_t *len, bool *refused)
{
	char	   *text = NULL;

	(void) run_call(server, method, path, body, RESPONSE_AS_TEXT, &text, len, refused);
	return text;
}

void
call_raise_unexpected(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("Mixpeek API sent an unexpected answer"),
			 errdetail("The answer is not %s.", what),
			 errhint("The API may have carried the request out.")));
}

void
call_raise_unreadable(const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("Mixpeek API sent an answer that is not valid JSON"),
			 errdetail_internal("The answer cannot be read: %s", why),
			 errhint("The API may have carried the request out.")));
}
