/*-------------------------------------------------------------------------
 *
 * server_checks.h
 *		Warnings of ALTER SERVER and DROP SERVER.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_SERVER_CHECKS_H
#define MIXPEEK_SERVER_CHECKS_H

/* A server was altered: warn of the documents that stay where it has led to. */
extern void server_checks_warn_altered(Oid server);

/*
 * A server was dropped or renamed: unless there is one of this name again, warn of the mirrors that name it, and of
 * the documents where it has led to whose deletes are owed.
 */
extern void server_checks_warn_gone(const char *name);

#endif							/* MIXPEEK_SERVER_CHECKS_H */
