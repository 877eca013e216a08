/*-------------------------------------------------------------------------
 *
 * origin_check.c
 *		Whether this database may change the documents of its origin.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xlog.h"
#include "state/origin.h"
#include "state/witness.h"
#include "utils/memutils.h"
#include "worker/origin_check.h"
#include "worker/outcome.h"
#include "worker/worker.h"

#define UUID_TEXT_LENGTH 36

/* Replace a text that lives as long as the worker. */
static void
replace_text(Worker *worker, char **text, const char *value)
{
	if (*text)
		pfree(*text);
	*text = value ? MemoryContextStrdup(worker->context, value) : NULL;
}

/*
 * Put off what was claimed before the database was found to be a copy: nothing may be sent any
 * more.
 */
static void
put_off_all(Worker *worker)
{
	ListCell   *lc;

	foreach(lc, worker->cache->accounts)
		outcome_put_off_ready(worker, lfirst(lc), 0, worker->origin.copy_of);
}

bool
origin_check_pass(Worker *worker)
{
	Origin		origin;
	char	   *problem = origin_problem(&origin);

	replace_text(worker, &worker->origin.copy_of, problem);
	if (problem)
	{
		put_off_all(worker);
		return false;
	}
	origin_store_news(&origin);
	if (origin.id && (worker->origin.id == NULL || strcmp(origin.id, worker->origin.id) != 0))
	{
		mirror_cache_invalidate(worker->cache);
		replace_text(worker, &worker->origin.id, origin.id);
	}
	worker->cache->all_forgotten = origin.incomplete;
	replace_text(worker, &worker->origin.former_ids, origin.former_ids);
	replace_text(worker, &worker->origin.incarnation, origin.incarnation);
	return true;
}

bool
origin_check_was_ours(const Worker *worker, const char *marker)
{
	return worker->origin.former_ids && strlen(marker) >= UUID_TEXT_LENGTH &&
		strstr(worker->origin.former_ids, pnstrdup(marker, UUID_TEXT_LENGTH)) != NULL;
}

void
origin_check_note_flush(Worker *worker)
{
	if (worker->origin.incarnation)
		witness_note(worker->origin.incarnation, XactLastCommitEnd);
}

void
origin_check_report(Worker *worker)
{
	const char *problem = worker->origin.copy_of;

	if (problem && (worker->origin.reported == NULL || strcmp(problem, worker->origin.reported) != 0))
		ereport(LOG,
				(errmsg("mixpeek_docs: nothing is mirrored: %s", worker->origin.copy_of),
				 errhint("%s", origin_hint)));
	replace_text(worker, &worker->origin.reported, problem);
}

void
origin_check_again(Worker *worker)
{
	if (worker->origin.copy_of)
		pfree(worker->origin.copy_of);
	worker->origin.copy_of = NULL;
}
