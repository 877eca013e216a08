/*-------------------------------------------------------------------------
 *
 * origin_check.c
 *		Whether this database may change the documents of its origin.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "state/origin.h"
#include "utils/memutils.h"
#include "worker/origin_check.h"
#include "worker/worker.h"

/* Replace a text that lives as long as the worker. */
static void
replace_text(Worker *worker, char **text, const char *value)
{
	if (*text)
		pfree(*text);
	*text = value ? MemoryContextStrdup(worker->context, value) : NULL;
}

bool
origin_check_pass(Worker *worker)
{
	char	   *id;
	char	   *problem = origin_problem(&id);

	replace_text(worker, &worker->origin.copy_of, problem);
	if (problem)
		return false;
	if (id && (worker->origin.id == NULL || strcmp(id, worker->origin.id) != 0))
	{
		mirror_cache_invalidate(worker->cache);
		replace_text(worker, &worker->origin.id, id);
	}
	return true;
}

void
origin_check_report(Worker *worker)
{
	if (worker->origin.copy_of && !worker->origin.reported)
		ereport(LOG,
				(errmsg("mixpeek_docs: nothing is mirrored: %s", worker->origin.copy_of),
				 errhint("%s", origin_hint)));
	worker->origin.reported = worker->origin.copy_of != NULL;
}

void
origin_check_again(Worker *worker)
{
	if (worker->origin.copy_of)
		pfree(worker->origin.copy_of);
	worker->origin.copy_of = NULL;
}
