/*-------------------------------------------------------------------------
 *
 * api_key_text.h
 *		API keys in the text of statements.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_API_KEY_TEXT_H
#define MIXPEEK_API_KEY_TEXT_H

#include "nodes/parsenodes.h"

/* Return the option of a CREATE or ALTER USER MAPPING that sets an API key; NULL if there is none. */
extern DefElem *api_key_find_option(Node *statement);

/*
 * Return a copy of a statement's text in which asterisks stand for the API keys, one
 * for each byte, so that positions in the text stay valid.  Returns NULL if no key was
 * found.
 *
 * location and len are those of PlannedStmt: the part of the text that is the
 * statement.  For the first statement of a text all of it is searched.  option is the
 * statement's own option, as api_key_find_option() returns it, or NULL; a key that
 * occurs elsewhere (in a function's arguments, in a DO block) is recognized by the
 * words around it.
 */
extern char *api_key_hide(const char *text, int location, int len, const DefElem *option);

#endif							/* MIXPEEK_API_KEY_TEXT_H */
