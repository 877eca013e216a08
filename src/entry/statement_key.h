/*-------------------------------------------------------------------------
 *
 * statement_key.h
 *		API keys in the text of statements.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_STATEMENT_KEY_H
#define MIXPEEK_STATEMENT_KEY_H

#include "nodes/parsenodes.h"

/* The option of a CREATE or ALTER USER MAPPING that sets an API key, or NULL. */
extern DefElem *statement_key_option(Node *statement);

/*
 * Returns a copy of a statement's text, of the same length, with asterisks for the API keys in
 * it; NULL if there is none.  location and len say which part of the text is the statement, as in
 * PlannedStmt; with a text's first statement all of it is looked at.  option is the statement's
 * own, as statement_key_option() returns it, or NULL; a key that stands elsewhere (in a function's
 * arguments, a DO block) is found by what it looks like.
 */
extern char *statement_hide_key(const char *text, int location, int len, const DefElem *option);

#endif							/* MIXPEEK_STATEMENT_KEY_H */
