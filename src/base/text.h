/*-------------------------------------------------------------------------
 *
 * text.h
 *		Values of type text.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_TEXT_H
#define MIXPEEK_TEXT_H

/* Check whether a text consists of these len bytes.  Any header will do, but it must not be compressed. */
static inline bool
text_has_bytes(const text * t, const char *s, size_t len)
{
	return VARSIZE_ANY_EXHDR(t) == len && memcmp(VARDATA_ANY(t), s, len) == 0;
}

#endif							/* MIXPEEK_TEXT_H */
