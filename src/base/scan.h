/*-------------------------------------------------------------------------
 *
 * scan.h
 *		JSON texts that are run over and not parsed.  Pure.
 *
 * Making jsonb of a text costs some ten times as much as running over it, and takes up
 * to a hundred times its memory.  So what an answer holds is found, measured and cut
 * out of its text, and only what is wanted, and is not too much, becomes jsonb.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_SCAN_H
#define MIXPEEK_SCAN_H

/* Levels that are followed: more than a jsonb of a user's can have, which an answer may repeat. */
#define SCAN_MAX_DEPTH	16384

/* A JSON value within a text, and what it would take to keep it. */
typedef struct JsonText
{
	const char *start;
	const char *end;			/* behind its last character */
	int			depth;			/* of arrays and objects within one another;
								 * 0: it is neither */
	int64		values;			/* of all kinds, it and members' names among
								 * them */
	int64		scalars;		/* but for null: 0 of an object like {"a": [],
								 * "b": null} */
	int64		written;		/* bytes with each number written out, at the
								 * most */
} JsonText;

/* The most that may be kept of one. */
typedef struct JsonBounds
{
	int			depth;
	int64		values;
	int64		written;
} JsonBounds;

/*
 * Runs over the value that begins at text; false if it is no JSON, or nested more
 * deeply than can be followed.  *value is filled in up to where it is wrong, which is
 * then value->end.  The text ends with a NUL.
 */
extern bool scan_value(const char *text, JsonText *value);

/* The same for a text of len bytes that is one value, with nothing but space around it. */
extern bool scan_text(const char *text, size_t len, JsonText *value);

/* Why a value cannot be kept within the bounds, palloc'd, or NULL if it can. */
extern char *scan_excess(const JsonText *value, const JsonBounds *bounds);

/*
 * Elements of an array or members of an object, one by one, each with a name as it is
 * written, in its quotes.  scan_items() is false where there is neither array nor object;
 * scan_next() where there is no further item, or what follows is wrong, at items->place;
 * scan_ended() says whether the whole text up to its end was right.
 */
typedef struct JsonItems
{
	const char *place;
	bool		named;
	bool		first;
	bool		ended;
	JsonText	name;			/* start and end only */
	JsonText	value;
} JsonItems;

extern bool scan_items(const char *text, JsonItems *items);
extern bool scan_next(JsonItems *items);
extern bool scan_ended(const JsonItems *items, const char *end);

/* Is the string, in its quotes, this one?  Escapes count as what they stand for. */
extern bool scan_string_is(const JsonText *string, const char *text);

#endif							/* MIXPEEK_SCAN_H */
