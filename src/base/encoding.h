/*-------------------------------------------------------------------------
 *
 * encoding.h
 *		Texts of the database in UTF-8, which is what the API reads.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_ENCODING_H
#define MIXPEEK_ENCODING_H

/*
 * Return a text of the database encoding in UTF-8, palloc'd.  Texts of an SQL_ASCII database are
 * returned as they are.  May be called outside a transaction: a conversion that needs the catalog
 * then runs in one of its own.
 */
extern char *encoding_to_utf8(const char *text);

#endif							/* MIXPEEK_ENCODING_H */
