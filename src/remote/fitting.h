/*-------------------------------------------------------------------------
 *
 * fitting.h
 *		JSON of which the database cannot hold every value.
 *
 * jsonb cannot hold the character U+0000, half a surrogate pair, a character that the
 * database encoding lacks, and a number beyond the range of numeric.  JSON can.  One such
 * value is no reason to lose the others.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_FITTING_H
#define MIXPEEK_FITTING_H

#include "utils/jsonb.h"

/*
 * Return a JSON text in UTF-8 as jsonb, without what jsonb cannot hold: such members of objects are
 * left out, and such elements of arrays are null.  *nleft_out is their number, and *error says why
 * the first one cannot be held (NULL: there is none).  Returns NULL if nothing is left.  The text has
 * been scanned (scan.h) and is within bounds.
 */
extern Jsonb *fitting_parse(const char *text, size_t len, int *nleft_out, char **error);

#endif							/* MIXPEEK_FITTING_H */
