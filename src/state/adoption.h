/*-------------------------------------------------------------------------
 *
 * adoption.h
 *		What mixpeek.adopt() does with the records.
 *
 * All functions must be called in a transaction, with a superuser's rights, after
 * document_table_exclude_worker().  They write the row of
 * mixpeek.origin for this database, and entries for all mirrors into the outbox.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_ADOPTION_H
#define MIXPEEK_ADOPTION_H

/*
 * Continue with the documents of the records.  older: the documents may be of a later time than the
 * records, so all rows are sent again, and documents without a row are searched for and deleted.
 */
extern void adoption_continue(bool older);

/* Forget all records, and mirror all rows into documents of a new origin. */
extern void adoption_start_anew(void);

/*
 * Continue with the documents of another origin, whose records were lost.  The documents that the
 * records know are of the former origin, and will be deleted.
 */
extern void adoption_change_origin(const char *id);

#endif							/* MIXPEEK_ADOPTION_H */
