/*-------------------------------------------------------------------------
 *
 * template_spelling.h
 *		Warns of fields of a template that look like misspelled ones.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_TEMPLATE_SPELLING_H
#define MIXPEEK_TEMPLATE_SPELLING_H

#include "utils/jsonb.h"

/*
 * Report a WARNING for each field of the template's root that the contract does not
 * know and that is one edit away from a field that it knows.  An edit inserts, deletes or
 * replaces a character, or swaps two neighbouring bytes.  Other unknown fields are
 * accepted silently: the API takes them.
 */
extern void template_warn_of_misspellings(Jsonb *document);

#endif							/* MIXPEEK_TEMPLATE_SPELLING_H */
