/*-------------------------------------------------------------------------
 *
 * listing.c
 *		The documents of a collection, page by page.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/json.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "remote/answer.h"
#include "remote/call.h"
#include "remote/contract.h"
#include "remote/fitting.h"
#include "remote/listing.h"
#include "remote/response.h"
#include "remote/url.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#define PAGE_SIZE		100		/* documents that a pager requests at once */
#define MAX_CURSOR		4096	/* bytes; a cursor becomes a part of a URL */
#define MAX_REASON		200		/* bytes of why a value was left out */

/* Bounds of a pagination object that listing_is_partial() reads. */
static const JsonBounds pagination_bounds = {8, 10000, 10000};

struct ListPager
{
	const MixpeekServer *server;
	char	   *path;
	char	   *body;			/* of each request, in the database encoding */
	char	   *other_body;		/* ... if the API refuses that; or NULL */
	int64		wanted;			/* documents still to be returned, or -1: all */
	char	   *page;			/* the next one; NULL: the first */
	bool		last;			/* is there no page after this one? */
	bool		scanning;		/* does items belong to a page? */
	MemoryContext page_context; /* the page's text, and what is read of it */
	JsonItems	items;			/* the page's documents */
};

/*
 * One page
 */

bool
listing_read_page(const char *text, size_t len, ListPage *page, const char **wrong)
{
	JsonItems	items;
	JsonText	other;
	bool		valid;

	memset(page, 0, sizeof(ListPage));
	if (!scan_items(text, &items) || !items.named)
	{
		valid = scan_text(text, len, &other);
		*wrong = other.end;
		return valid;
	}
	while (scan_next(&items))
	{
		if (scan_string_is(&items.name, "results"))
			page->results = items.value;
		else if (scan_string_is(&items.name, "pagination"))
			page->pagination = items.value;
	}
	*wrong = items.place;
	return scan_ended(&items, text + len);
}

bool
listing_scan_documents(const ListPage *page, JsonItems *items)
{
	return page->results.start && *page->results.start == '[' && scan_items(page->results.start, items);
}

/* Return what the page says about the other pages, or NULL if it says nothing or nothing readable. */
static JsonbContainer *
read_pagination(const ListPage *page, char **error)
{
	const JsonText *text = &page->pagination;
	Jsonb	   *json;

	*error = NULL;
	if (text->start == NULL)
		return NULL;
	json = response_parse_utf8(text->start, text->end - text->start, error);
	return json && JB_ROOT_IS_OBJECT(json) ? &json->root : NULL;
}

static JsonbValue *
find_number(JsonbContainer *object, const char *name)
{
	JsonbValue *value = json_member(object, name);

	return value && value->type == jbvNumeric ? value : NULL;
}

static JsonbValue *
find_number_or_string(JsonbContainer *object, const char *name)
{
	JsonbValue *value = json_member(object, name);

	return value && (value->type == jbvNumeric || value->type == jbvString) ? value : NULL;
}

bool
listing_is_partial(const ListPage *page, int n, int page_size)
{
	bool		readable = n > 0 && page->pagination.start && !scan_excess(&page->pagination, &pagination_bounds);
	char	   *error;
	JsonbContainer *pagination = readable ? read_pagination(page, &error) : NULL;
	JsonbValue *total;

	if (pagination == NULL)
		return n >= page_size;
	total = find_number(pagination, "total");
	if (total)
		return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(total->val.numeric),
												 NumericGetDatum(int64_to_numeric(n)))) > 0;
	return find_number_or_string(pagination, "next_page") ||
		find_number_or_string(pagination, "next_cursor");
}

/*
 * The body of a list request
 */

static void
append_text_member(StringInfo body, const char *name, const char *value)
{
	json_append_name(body, name);
	escape_json(body, value);
}

static void
append_flag_member(StringInfo body, const char *name, bool value)
{
	if (!value)
		return;
	json_append_name(body, name);
	appendStringInfoString(body, "true");
}

/*
 * Return the body of the requests; raise an error if it is not as the API's contract says.  A request
 * for URLs has had another name since 2026-03.
 */
static char *
write_body(const ListQuery *query, bool new_names)
{
	StringInfoData body;

	initStringInfo(&body);
	appendStringInfoChar(&body, '{');
	json_append_member(&body, "filters", query->filters);
	json_append_member(&body, "sort", query->sort);
	if (query->search)
		append_text_member(&body, "search", query->search);
	append_flag_member(&body, new_names ? "return_presigned_urls" : "return_url", query->return_url);
	append_flag_member(&body, "return_vectors", query->return_vectors);
	appendStringInfoChar(&body, '}');
	contract_check_text(&contract_list, body.data);
	return body.data;
}

/*
 * Where the next page is
 */

/* Return the page size that counts: ours, or that of the server if it is smaller. */
static int
effective_page_size(JsonbContainer *pagination, int page_size)
{
	JsonbValue *size = find_number(pagination, "page_size");
	Datum		zero = DirectFunctionCall1(int4_numeric, Int32GetDatum(0));
	Datum		smaller;

	if (size == NULL)
		return page_size;
	smaller = DirectFunctionCall2(numeric_smaller, NumericGetDatum(size->val.numeric),
								  DirectFunctionCall1(int4_numeric, Int32GetDatum(page_size)));
	if (DatumGetInt32(DirectFunctionCall2(numeric_cmp, smaller, zero)) < 0)
		call_raise_unexpected("a list whose page_size can be one");
	return DatumGetInt32(DirectFunctionCall1(numeric_int4, smaller));
}

/* Check whether the page has fewer documents than one that another page follows. */
static bool
is_short_page(JsonbContainer *pagination, int n, int page_size)
{
	JsonbValue *next = json_member(pagination, "next_page");

	if (next && next->type == jbvString)
		return false;
	return n < effective_page_size(pagination, page_size);
}

/* Return the cursor of the next page, palloc'd, or NULL.  cursor is that of this page, or NULL. */
static char *
read_cursor(const char *cursor, JsonbContainer *pagination)
{
	JsonbValue *value = json_member(pagination, "next_cursor");
	char	   *next;

	if (value == NULL || value->type != jbvString || value->val.string.len == 0)
		return NULL;
	next = pnstrdup(value->val.string.val, value->val.string.len);
	if (strlen(next) > MAX_CURSOR)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("Mixpeek API sent a cursor of more than %d bytes", MAX_CURSOR)));
	if (cursor && strcmp(next, cursor) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("Mixpeek API sent the same page's cursor twice")));
	return next;
}

/* A page's text is "cursor=" and the cursor, or "offset=" and the number of documents before it. */
#define CURSOR_PREFIX	"cursor="
#define OFFSET_PREFIX	"offset="

/* Return the cursor of a page; NULL if it has an offset. */
static const char *
page_cursor(const char *page)
{
	return page && strncmp(page, CURSOR_PREFIX, strlen(CURSOR_PREFIX)) == 0 ? page + strlen(CURSOR_PREFIX) : NULL;
}

static int64
page_offset(const char *page)
{
	return page && strncmp(page, OFFSET_PREFIX, strlen(OFFSET_PREFIX)) == 0 ? atoll(page + strlen(OFFSET_PREFIX)) : 0;
}

void
listing_append_query(StringInfo path, const char *page, int page_size)
{
	const char *cursor = page_cursor(page);

	appendStringInfo(path, "?limit=%d", page_size);
	if (cursor)
	{
		appendStringInfoString(path, "&" CURSOR_PREFIX);
		url_append_escaped(path, pg_server_to_any(cursor, strlen(cursor), PG_UTF8));
	}
	else
		appendStringInfo(path, "&" OFFSET_PREFIX INT64_FORMAT, page_offset(page));
}

char *
listing_next_page(const ListPage *this_page, const char *page, int n, int page_size)
{
	char	   *error;
	JsonbContainer *pagination = read_pagination(this_page, &error);
	const char *cursor = page_cursor(page);
	char	   *next;

	if (error)
		call_raise_unreadable(error);
	next = read_cursor(cursor, pagination);
	if (n == 0)
		return NULL;
	if (next)
		return psprintf(CURSOR_PREFIX "%s", next);
	if (cursor || is_short_page(pagination, n, page_size))
		return NULL;
	return psprintf(OFFSET_PREFIX INT64_FORMAT, page_offset(page) + n);
}

/*
 * All pages
 */

ListPager *
listing_open(const MixpeekServer *server, const char *collection, const ListQuery *query)
{
	ListPager  *pager = palloc0(sizeof(ListPager));
	StringInfoData path;

	initStringInfo(&path);
	url_append_documents(&path, pg_server_to_any(collection, strlen(collection), PG_UTF8));
	appendStringInfoString(&path, "/list");
	pager->server = server;
	pager->path = path.data;
	pager->body = write_body(query, server->contract >= CONTRACT_2026_10);
	if (query->return_url && server->contract == CONTRACT_UNKNOWN)
		pager->other_body = write_body(query, true);
	pager->wanted = query->max_documents;
	pager->page_context = AllocSetContextCreate(CurrentMemoryContext, "mixpeek_docs page",
												ALLOCSET_DEFAULT_SIZES);
	return pager;
}

static char *
page_path(const ListPager *pager, int page_size)
{
	StringInfoData path;

	initStringInfo(&path);
	appendStringInfoString(&path, pager->path);
	listing_append_query(&path, pager->page, page_size);
	return path.data;
}

/* Remember where the next page is, after one of n documents. */
static void
note_next_page(ListPager *pager, const ListPage *page, int n, int page_size)
{
	char	   *next = listing_next_page(page, pager->page, n, page_size);

	pager->last = next == NULL;
	if (pager->page)
		pfree(pager->page);
	pager->page = next ? MemoryContextStrdup(GetMemoryChunkContext((void *) pager), next) : NULL;
}

static int
count_documents(const ListPage *page)
{
	JsonItems	items;
	int			n = 0;

	if (!listing_scan_documents(page, &items))
		return 0;
	while (scan_next(&items))
		n++;
	return n;
}

static void
take_page(ListPager *pager, const char *text, size_t len, int page_size)
{
	ListPage	page = {0};
	const char *wrong;
	int			n;

	if (text && !listing_read_page(text, len, &page, &wrong))
		elog(ERROR, "an answer that was found to be JSON is none");
	pager->scanning = listing_scan_documents(&page, &pager->items);
	if (!pager->scanning && (page.results.start == NULL || *page.results.start != 'n'))
		call_raise_unexpected("an object with a results array");
	n = count_documents(&page);
	note_next_page(pager, &page, n, page_size);
}

/*
 * Return the text of a page.  A contract that is not known is found out with the first one: a strict
 * API refuses the names of another contract.
 */
static char *
request_page(ListPager *pager, const char *path, size_t *len)
{
	char	   *other_body = pager->other_body;
	bool		refused;
	char	   *text = call_api_for_text(pager->server, HTTP_POST, path, pager->body, len,
										 other_body ? &refused : NULL);

	pager->other_body = NULL;
	if (other_body == NULL || !refused)
		return text;
	pager->body = other_body;
	return call_api_for_text(pager->server, HTTP_POST, path, pager->body, len, NULL);
}

static void
fetch_page(ListPager *pager)
{
	int			page_size = pager->wanted >= 0 ? (int) Min(pager->wanted, PAGE_SIZE) : PAGE_SIZE;
	MemoryContext old;
	char	   *text;
	size_t		len = 0;

	pager->scanning = false;
	MemoryContextReset(pager->page_context);
	old = MemoryContextSwitchTo(pager->page_context);
	text = request_page(pager, page_path(pager, page_size), &len);
	take_page(pager, text, len, page_size);
	MemoryContextSwitchTo(old);
}

bool
listing_next(ListPager *pager, JsonText *document)
{
	if (pager->wanted == 0)
		return false;
	while (!pager->scanning || !scan_next(&pager->items))
	{
		if (pager->last)
			return false;
		fetch_page(pager);
	}
	if (pager->wanted > 0)
		pager->wanted--;
	*document = pager->items.value;
	if (*document->start != '{')
		call_raise_unexpected("an object whose results are objects");
	return true;
}

/* Check whether the document's id is among what jsonb cannot hold of it. */
static bool
lacks_id(const JsonText *document, Jsonb *json)
{
	JsonItems	items;

	if (json_member(&json->root, "document_id") || !scan_items(document->start, &items))
		return false;
	while (scan_next(&items))
	{
		if (scan_string_is(&items.name, "document_id"))
			return true;
	}
	return false;
}

static void
warn_left_out(const JsonText *document, int n, const char *why)
{
	StringInfoData detail;
	char	   *document_id;
	char	   *marker;

	answer_listed(document, &document_id, &marker);
	initStringInfo(&detail);
	response_append_remote(&detail, why, strlen(why), MAX_REASON);
	ereport(WARNING,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg_plural("document \"%s\" is returned without %d value that jsonb cannot hold",
						   "document \"%s\" is returned without %d values that jsonb cannot hold",
						   n, document_id ? document_id : "", n),
			 errdetail_internal("%s", detail.data)));
}

Jsonb *
listing_document_jsonb(const JsonText *document)
{
	char	   *error;
	int			nleft_out;
	Jsonb	   *json = fitting_parse(document->start, document->end - document->start, &nleft_out, &error);

	if (json == NULL || (nleft_out > 0 && lacks_id(document, json)))
		call_raise_unreadable(error);
	if (nleft_out > 0)
		warn_left_out(document, nleft_out, error);
	return json;
}
