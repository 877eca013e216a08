/*-------------------------------------------------------------------------
 *
 * server_checks.h
 *		Warnings of ALTER SERVER.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_SERVER_CHECKS_H
#define MIXPEEK_SERVER_CHECKS_H

/* A server was altered: warn of the documents that stay where it has led to. */
extern void server_checks_warn(Oid server);

#endif							/* MIXPEEK_SERVER_CHECKS_H */
