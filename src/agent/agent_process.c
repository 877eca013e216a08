/*-------------------------------------------------------------------------
 *
 * agent_process.c
 *		The process in which the code of a table's owner runs.
 *
 * An agent is the table's owner from before the first request until it ends, both as
 * session user and as current user, so that its code finds no other user to return
 * to.  The user that the process was started as cannot be reached: the settings by
 * which a session changes its user are locked.  In addition, requests run as a
 * security-restricted operation, with limits of time and memory that nothing in them
 * can lift.
 *
 * No state is kept between two requests: each finds its table by oid, locks it,
 * compiles the mirror from the catalog as it is then, and checks that the table's
 * owner is the agent's.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "agent/agent_process.h"
#include "agent/channel.h"
#include "agent/confinement.h"
#include "agent/reply.h"
#include "agent/serve.h"
#include "base/crash.h"
#include "base/guard.h"
#include "base/process.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* Milliseconds that code may go on after it was cancelled, before the process ends. */
#define GRACE			1000

static void
serve_requests(shm_mq_handle *from_worker)
{
	for (;;)
	{
		void	   *data;
		Size		len;

		if (shm_mq_receive(from_worker, &len, &data, false) != SHM_MQ_SUCCESS)
			return;
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		serve_request(data, len);
	}
}

static dsm_segment *
attach_segment(Datum main_arg)
{
	dsm_segment *segment;

	CurrentResourceOwner = ResourceOwnerCreate(NULL, "mixpeek_docs agent");
	segment = dsm_attach(DatumGetUInt32(main_arg));
	if (segment)
		dsm_pin_mapping(segment);
	return segment;
}

void
mixpeek_agent_main(Datum main_arg)
{
	dsm_segment *segment;
	shm_mq_handle *from_worker;
	shm_mq_handle *to_worker;
	AgentShared *shared;

	pqsignal(SIGTERM, crash_die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	segment = attach_segment(main_arg);
	if (segment == NULL)
		proc_exit(0);			/* the worker is gone, or has given up */
	shared = dsm_segment_address(segment);
	from_worker = channel_attach(segment, AGENT_TO_PROCESS, false);
	to_worker = channel_attach(segment, AGENT_FROM_PROCESS, false);
	BackgroundWorkerInitializeConnectionByOid(shared->database, InvalidOid, 0);
	process_override_settings();
	crash_open(shared->database, shared->crash_slot);
	if (!confinement_set_owner(shared->owner))
		proc_exit(0);
	guard_set_grace(GRACE);
	confinement_limit_memory();
	MemoryContextSwitchTo(TopMemoryContext);
	reply_init(to_worker);
	serve_requests(from_worker);
	proc_exit(0);
}
