/*-------------------------------------------------------------------------
 *
 * server_check.h
 *		Where servers lead to, and what must be done when that has changed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_SERVER_CHECK_H
#define MIXPEEK_SERVER_CHECK_H

#include "state/job.h"
#include "worker/forward.h"

/*
 * If a server or a user mapping may have been created or altered (server_check_is_due()), read where all servers lead to.  The mirrors of one that
 * leads elsewhere now are entered into the outbox: their documents are at the old place.  What has failed of
 * the owed deletes is tried again, since their owners may be able to use a server now.  In the
 * transaction of a claim; server_check_committed() is called after its commit.
 */
extern bool server_check_is_due(const Worker *worker);
extern void server_check_run(Worker *worker);
extern void server_check_committed(Worker *worker);

/*
 * Return the name of a server that leads to a place: of those that the owner can use, if there are
 * any, this one or else another one.  NULL: no server leads there.
 */
extern const char *server_check_find(Worker *worker, const char *name, int64 place, Oid owner);

/*
 * Return the name of the server with which a document of a record is deleted: one that leads to its
 * place, if that is known and there is one, else this one.
 */
extern const char *server_check_choose(Worker *worker, const char *name, bool place_known, int64 place, Oid owner);

#endif							/* MIXPEEK_SERVER_CHECK_H */
