/*-------------------------------------------------------------------------
 *
 * adopt_function.c
 *		mixpeek.adopt(): what a restored or copied database is.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/statement.h"
#include "base/user.h"
#include "base/wakeup.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "state/adoption.h"
#include "state/document_table.h"
#include "state/origin.h"
#include "state/outbox_buffer.h"
#include "utils/fmgrprotos.h"

PG_FUNCTION_INFO_V1(mixpeek_adopt);

/* Raise an error unless the arguments make sense together and in this database. */
static void
check_adoption(bool as_copy, const char *id, const char *problem)
{
	if (as_copy && id)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a copy cannot take over the documents of an origin"),
				 errhint("Leave out one of the arguments as_copy and origin.")));
	if (as_copy && problem == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database is not a copy"),
				 errdetail("Its documents are its own.")));
}

/* Check whether the records may be older than the documents, and not only at another place. */
static bool
may_be_older(const Origin *origin)
{
	bool		upgraded = origin->id && !origin->same_cluster && origin->written_here;

	return !upgraded;
}

/*
 * adopt(as_copy boolean, origin uuid): declare that this database has replaced the one from which it
 * was restored or copied, and continues with its documents; or that it is a copy, which forgets these
 * documents and mirrors its rows into documents of its own; or, with origin, that it continues with
 * the documents of this origin, whose records were lost.  For superusers, and for roles that were
 * granted EXECUTE.  Raises ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if as_copy is true but the
 * database is not a copy, and ERRCODE_INVALID_PARAMETER_VALUE if both are given.
 */
Datum
mixpeek_adopt(PG_FUNCTION_ARGS)
{
	bool		as_copy = !PG_ARGISNULL(0) && PG_GETARG_BOOL(0);
	char	   *id = PG_ARGISNULL(1) ? NULL :
		DatumGetCString(DirectFunctionCall1(uuid_out, PG_GETARG_DATUM(1)));
	UserState	guard;
	Origin		origin;

	user_switch(&guard, BOOTSTRAP_SUPERUSERID);
	document_table_exclude_worker();
	check_adoption(as_copy, id, origin_problem(&origin));
	if (as_copy)
		adoption_start_anew();
	else if (id && (origin.id == NULL || strcmp(id, origin.id) != 0))
		adoption_change_origin(id);
	else
		adoption_continue(may_be_older(&origin));
	user_restore(&guard);
	outbox_note_unknown();
	wakeup_at_commit(WAKEUP_WORKER);
	PG_RETURN_VOID();
}
