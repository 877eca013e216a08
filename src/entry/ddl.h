/*-------------------------------------------------------------------------
 *
 * ddl.h
 *		What CREATE, ALTER and DROP may do to mirrors, and must do for them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_DDL_H
#define MIXPEEK_DDL_H

/* From _PG_init(). */
extern void ddl_init(void);

/*
 * Mirrors dropped from here on leave what is known of their documents, or do so no more: the worker
 * still needs it, to delete them.
 */
extern void ddl_keep_documents(bool keep);

/* Raises ERRCODE_INSUFFICIENT_PRIVILEGE unless the current user owns the table. */
extern void ddl_check_owner(Oid relation);

#endif							/* MIXPEEK_DDL_H */
