/*-------------------------------------------------------------------------
 *
 * scan.h
 *		Scanning JSON texts without parsing them into jsonb.
 *
 * Parsing a text into jsonb costs some ten times as much as scanning it, and takes up to
 * a hundred times its size in memory.  So the parts of an answer are located and
 * measured in its text, and only those that are needed, and are not too large, are parsed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_SCAN_H
#define MIXPEEK_SCAN_H

/* The maximum of nesting levels: more than a user's jsonb can have, which an answer may repeat. */
#define SCAN_MAX_DEPTH	16384

/* A JSON value within a text, and its size. */
typedef struct JsonText
{
	const char *start;
	const char *end;			/* after its last character */
	int			depth;			/* nesting levels of arrays and objects; 0: it
								 * is a scalar */
	int64		values;			/* number of values, including itself and the
								 * names of members */
	int64		scalars;		/* number of scalars other than null: 0 for
								 * {"a": [], "b": null} */
	int64		written;		/* maximum of bytes, with numbers written
								 * without exponents */
} JsonText;

/* The maximum size of a value that is kept. */
typedef struct JsonBounds
{
	int			depth;
	int64		values;
	int64		written;
} JsonBounds;

/*
 * Scan the value that begins at text, which must end with a NUL.  Returns false if it is not JSON or
 * has more than SCAN_MAX_DEPTH levels; then value->end is the place of the error, and the other
 * fields describe what precedes it.
 */
extern bool scan_value(const char *text, JsonText *value);

/* Do the same for a text of len bytes, which must be one value with only white space around it. */
extern bool scan_text(const char *text, size_t len, JsonText *value);

/* Return why a value exceeds the bounds, palloc'd, or NULL if it does not. */
extern char *scan_excess(const JsonText *value, const JsonBounds *bounds);

/*
 * Iterate over the elements of an array or the members of an object.  A name includes its quotes.
 * scan_items() returns false if the text is neither an array nor an object.  scan_next() returns
 * false if there is no further item, or an error at items->place.  Then scan_ended() returns whether
 * the array or object is complete and reaches to the end of the text.
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

/*
 * Read the escape sequence at p of a JSON string.  Sets the 5 bytes to its value, in UTF-8 and with a
 * NUL, and returns its end.  The value of half a surrogate pair is no valid UTF-8.
 */
extern const char *scan_escape(const char *p, unsigned char *bytes);

/* Check whether a JSON string, including its quotes, has this value. */
extern bool scan_string_is(const JsonText *string, const char *text);

#endif							/* MIXPEEK_SCAN_H */
