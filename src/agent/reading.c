/*-------------------------------------------------------------------------
 *
 * reading.c
 *		Reads rows of one mirror and renders them as documents.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/detoast.h"
#include "agent/reading.h"
#include "base/clock.h"
#include "base/guard.h"
#include "base/settings.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "mirror/native_rows.h"
#include "mirror/source_table.h"
#include "utils/lsyscache.h"

/* The API stores up to 16 MB a document. */
#define MAX_DOCUMENT_BYTES	(16 * 1024 * 1024)

/* Rows read one by one may take so many times mixpeek.read_timeout; the remaining ones are put off. */
#define MAX_READ_TIMEOUTS	3

/*
 * Finding a row's key among the keys to be read
 */

static int
compare_read_keys(const void *a, const void *b)
{
	return strcmp((*(ReadKey *const *) a)->key, (*(ReadKey *const *) b)->key);
}

static void
sort_keys(Reading *reading)
{
	reading->sorted = palloc(sizeof(ReadKey *) * (reading->nkeys + 1));
	for (int i = 0; i < reading->nkeys; i++)
		reading->sorted[i] = &reading->keys[i];
	qsort(reading->sorted, reading->nkeys, sizeof(ReadKey *), compare_read_keys);
}

/* Return NULL if no key has this text: a key may be equal to one of them in its type, but be written otherwise. */
static ReadKey *
find_key(const Reading *reading, const char *key)
{
	ReadKey		wanted = {.key = key};
	ReadKey    *pointer = &wanted;
	ReadKey   **found = bsearch(&pointer, reading->sorted, reading->nkeys, sizeof(ReadKey *),
								compare_read_keys);

	return found ? *found : NULL;
}

/*
 * Rendering
 */

/* Return the text in UTF-8, which an SQL_ASCII database must contain already. */
static const char *
encode_utf8(StringInfo text, int *len)
{
	char	   *utf8 = pg_server_to_any(text->data, text->len, PG_UTF8);

	if (GetDatabaseEncoding() == PG_SQL_ASCII)
		(void) pg_verify_mbstr(PG_UTF8, text->data, text->len, false);
	*len = utf8 == text->data ? text->len : strlen(utf8);
	return utf8;
}

static void
check_size(size_t bytes)
{
	if (bytes > MAX_DOCUMENT_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the document has %zu bytes, more than the API stores (%d)",
						bytes, MAX_DOCUMENT_BYTES)));
}

/* Return the bytes of a row's values, without fetching values stored out of line. */
static int64
stored_bytes(const Template *template, const TemplateRow *row)
{
	int64		bytes = 0;
	int			i = 0;
	ListCell   *lc;

	foreach(lc, template->columns)
	{
		TemplateColumn *column = lfirst(lc);

		if (!row->nulls[i] && (column->form == COLUMN_JSON || get_typlen(column->type) == -1))
			bytes += toast_raw_datum_size(row->values[i]);
		i++;
	}
	return bytes;
}

static bool
has_room_for(const Reading *reading, const TemplateRow *row)
{
	return (reading->room.one && reading->bytes == 0) ||
		reading->bytes + stored_bytes(reading->mirror->template, row) < reading->room.bytes;
}

/* Render a row that was found.  Runs in the guard. */
static void
render_row(void *arg, const char *key, const TemplateRow *found)
{
	Reading    *reading = arg;
	ReadKey    *read_key = find_key(reading, key);
	TemplateRow row = *found;
	RenderedRow rendered = {0};
	StringInfoData content;
	StringInfoData features;

	if (read_key == NULL || read_key->end == ROW_FOUND)
		return;
	if (!has_room_for(reading, &row))
	{
		read_key->end = ROW_LEFT;
		return;
	}
	if (read_key->marker)
		row.marker = read_key->marker;
	initStringInfo(&content);
	initStringInfo(&features);
	template_render(reading->mirror->template, &row, &content, &features);
	check_size((size_t) content.len + features.len);
	rendered.content = encode_utf8(&content, &rendered.content_len);
	if (reading->mirror->template->has_features)
		rendered.features = encode_utf8(&features, &rendered.features_len);
	reading->take_row(reading->arg, read_key - reading->keys, &rendered);
	reading->bytes += rendered.content_len + rendered.features_len;
	read_key->end = ROW_FOUND;
}

/*
 * Reading
 */

typedef struct ReadCall
{
	Reading    *reading;
	char	  **keys;
	int			nkeys;
} ReadCall;

/* Skip the keys that were not read, since a partition is locked. */
static void
skip_unread(Reading *reading)
{
	for (int i = 0; i < reading->nkeys; i++)
	{
		if (reading->keys[i].end == ROW_NOT_FOUND)
			reading->keys[i].end = ROW_SKIPPED;
	}
}

static void
read_rows_guarded(void *arg)
{
	ReadCall   *call = arg;

	if (call->reading->mirror->native)
	{
		if (!native_rows_read(call->reading->mirror, call->keys, call->nkeys, render_row, call->reading))
			skip_unread(call->reading);
	}
	else
		source_table_read_rows(call->reading->mirror, call->keys, call->nkeys, render_row, call->reading);
}

/* Read all rows at once; return whether that succeeded. */
static bool
read_all_at_once(Reading *reading)
{
	ReadCall	call = {reading, palloc(sizeof(char *) * (reading->nkeys + 1)), reading->nkeys};
	int			timeouts;
	bool		done;

	for (int i = 0; i < reading->nkeys; i++)
		call.keys[i] = unconstify(char *, reading->keys[i].key);
	timeouts = guard_timeouts();
	done = guard_call_within(read_rows_guarded, &call, mixpeek_read_timeout, NULL) == NULL;
	reading->together_too_long = guard_timeouts() > timeouts;
	return done;
}

typedef struct KeyCall
{
	Mirror	   *mirror;
	const char *key;
} KeyCall;

static void
parse_key(void *arg)
{
	KeyCall    *call = arg;

	mirror_check_key(call->mirror, call->key);
}

/* Check whether the text is no value of the key columns' present types: then there is no such row. */
static bool
has_no_row(Mirror *mirror, const char *key)
{
	KeyCall		call = {mirror, key};
	int			sqlstate = 0;

	return guard_call_within(parse_key, &call, mixpeek_read_timeout, &sqlstate) != NULL &&
		ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_DATA_EXCEPTION;
}

static void
read_alone(Reading *reading, ReadKey *key)
{
	char	   *text = unconstify(char *, key->key);
	ReadCall	call = {reading, &text, 1};
	char	   *problem = guard_call_within(read_rows_guarded, &call, mixpeek_read_timeout, NULL);

	if (problem == NULL || has_no_row(reading->mirror, key->key))
		return;
	key->end = ROW_FAILED;
	key->problem = problem;
}

void
reading_run(Reading *reading)
{
	double		give_up_at;
	int			timeouts;

	sort_keys(reading);
	if (read_all_at_once(reading))
		return;
	timeouts = guard_timeouts();
	give_up_at = clock_seconds() + MAX_READ_TIMEOUTS * mixpeek_read_timeout / 1000.0;
	for (int i = 0; i < reading->nkeys; i++)
	{
		ReadKey    *key = &reading->keys[i];

		if (key->end != ROW_NOT_FOUND)
			continue;
		if (clock_seconds() >= give_up_at)
			key->end = guard_timeouts() > timeouts ? ROW_SKIPPED : ROW_LEFT;
		else
			read_alone(reading, key);
	}
}
