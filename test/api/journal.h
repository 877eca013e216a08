/*
 * journal.h
 *	  The documents' changes in a file.  Without --journal, nothing happens.
 */
#ifndef JOURNAL_H
#define JOURNAL_H

#include "store.h"

extern void journal_open(void);
extern void journal_put(char kind, const Document *document);
extern void journal_clear(void);

#endif
