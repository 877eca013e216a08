/*-------------------------------------------------------------------------
 *
 * wakeup.c
 *		Wake-ups of the worker and the launcher when a transaction commits.
 *
 * A process that is woken must be able to see what the transaction did, and to
 * lock its tables.  The invalidation messages are sent and the locks released after the
 * commit callbacks, so wake-ups are sent when resources are released after locks.
 *
 * A prepared transaction sends nothing.  The blocks that it wrote are kept
 * in shared memory until COMMIT PREPARED, see on_process_utility() in entry/hooks.c.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xact.h"
#include "base/blockset.h"
#include "base/shmem.h"
#include "base/wakeup.h"
#include "miscadmin.h"
#include "utils/resowner.h"

/* The current transaction's requests. */
static struct
{
	BlockSet	blocks;
	int			flags;
	bool		is_committed;	/* they are to be carried out */
}			requests;

void
wakeup_at_commit(int flags)
{
	requests.flags |= flags;
}

void
wakeup_add_blocks(BlockNumber first, BlockNumber last)
{
	blockset_add(&requests.blocks, first, last);
}

static void
clear_requests(void)
{
	requests.blocks.n = 0;
	requests.flags = 0;
	requests.is_committed = false;
}

static void
send_wakeups(void)
{
	if (requests.blocks.n > 0)
		shmem_send_blocks(MyDatabaseId, &requests.blocks);
	if (requests.flags & WAKEUP_PROBE)
		shmem_request_probe(MyDatabaseId);
	if (requests.flags & WAKEUP_PROBE_ALL)
		shmem_request_probe(InvalidOid);
	if (requests.flags & (WAKEUP_WORKER | WAKEUP_PROBE))
		shmem_wake_worker(MyDatabaseId);
}

static void
arm_at_transaction_event(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			break;
		case XACT_EVENT_COMMIT:
			requests.is_committed = true;
			break;
		case XACT_EVENT_PREPARE:
			shmem_note_prepared(MyDatabaseId, &requests.blocks);
			clear_requests();
			break;
		default:
			clear_requests();
			break;
	}
}

static void
send_at_resource_release(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level || !requests.is_committed)
		return;
	send_wakeups();
	clear_requests();
}

void
wakeup_init(void)
{
	RegisterXactCallback(arm_at_transaction_event, NULL);
	RegisterResourceReleaseCallback(send_at_resource_release, NULL);
}
