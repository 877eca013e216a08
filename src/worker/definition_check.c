/*-------------------------------------------------------------------------
 *
 * definition_check.c
 *		Whether a mirror's key still has the definition that its records were made under.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xact.h"
#include "mirror/key_definition.h"
#include "state/key_table.h"
#include "worker/definition_check.h"
#include "worker/worker.h"

/* Put entries for all records and all rows into the outbox, in place of those that continue after an old key. */
static void
put_all(Worker *worker, CachedMirror *cached)
{
	char	   *from_start = NULL;
	BlockSet   *news = &worker->schedule.scan.news;

	cached->changed_in = GetCurrentTransactionStartTimestamp();
	outbox_remove_continued(cached->relation, cached->collection);
	outbox_put(cached->relation, OUTBOX_ALL_STORED, cached->collection, &from_start, 1, news);
	outbox_put(cached->relation, OUTBOX_ALL_ROWS, cached->collection, &from_start, 1, news);
	worker->moves++;
	worker->schedule.more = true;
}

bool
definition_check(Worker *worker, CachedMirror *cached, bool again)
{
	const Mirror *mirror = cached->mirror;

	if (mirror == NULL || mirror->key == NULL || (cached->checked && !again))
		return false;
	cached->checked = true;		/* an error has it compiled anew */
	if (!key_table_store(cached->relation, cached->collection, key_definition(mirror->key)))
		return false;
	ereport(LOG,
			(errmsg("mixpeek_docs: the key of table %u has changed, so all its rows and documents are checked",
					cached->relation)));
	put_all(worker, cached);
	return true;
}

bool
definition_has_changed(const CachedMirror *cached)
{
	return cached->changed_in == GetCurrentTransactionStartTimestamp();
}

bool
definition_take(Worker *worker, const OutboxEntry *entry)
{
	CachedMirror *cached;

	worker->recovery.current_table = entry->relation;
	cached = mirror_cache_get(worker->cache, entry->relation, entry->collection);
	if (cached->blocked_until > 0)
	{
		schedule_retry_in(worker, LOCK_DELAY);
		return false;
	}
	(void) definition_check(worker, cached, true);
	return true;
}
