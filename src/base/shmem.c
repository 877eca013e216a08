/*-------------------------------------------------------------------------
 *
 * shmem.c
 *		Messages between writers, workers and the launcher.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/shmem.h"
#include "base/ticket.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/pmsignal.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "storage/spin.h"

/* A small set of databases. */
#define MAX_OIDS	64

typedef struct OidSet
{
	int			n;
	bool		overflown;		/* some did not fit */
	Oid			oids[MAX_OIDS];
} OidSet;

typedef struct WorkerSlot
{
	Oid			database;		/* InvalidOid: free */
	int			pid;
	int			procno;			/* index into ProcGlobal->allProcs */
	bool		has_extension;	/* the worker has found the extension */
	pg_atomic_uint32 expects;	/* 1: the next change must set its latch */
	pg_atomic_uint32 woken;		/* 1: it was woken, even if its latch was
								 * reset since */
	slock_t		mutex;			/* of the sets */
	BlockSet	news;			/* blocks of the outbox with new entries */
	BlockSet	wide_news;		/* likewise, of transactions that wrote many */
	BlockSet	prepared;		/* blocks of prepared transactions */
} WorkerSlot;

/* If a transaction wrote more blocks than this, other transactions need not wait for it. */
#define MANY_BLOCKS	64

typedef struct SharedState
{
	LWLock	   *lock;
	int			launcher_procno;	/* -1: none */
	OidSet		probes;			/* databases that the launcher should check */
	OidSet		absent;			/* databases whose worker found no extension */
	OidSet		held;			/* databases in which no worker may run */
	int			nslots;
	WorkerSlot	slots[FLEXIBLE_ARRAY_MEMBER];
} SharedState;

static SharedState *state = NULL;
static shmem_startup_hook_type prev_startup_hook = NULL;
#if PG_VERSION_NUM >= 150000
static shmem_request_hook_type prev_request_hook = NULL;
#endif

static int
oidset_index(const OidSet *set, Oid oid)
{
	for (int i = 0; i < set->n; i++)
	{
		if (set->oids[i] == oid)
			return i;
	}
	return -1;
}

/* Add an element even if the set has it. */
static void
oidset_push(OidSet *set, Oid oid)
{
	if (set->n < MAX_OIDS)
		set->oids[set->n++] = oid;
	else
		set->overflown = true;
}

static void
oidset_add(OidSet *set, Oid oid)
{
	if (oidset_index(set, oid) < 0)
		oidset_push(set, oid);
}

static void
oidset_remove(OidSet *set, Oid oid)
{
	int			i = oidset_index(set, oid);

	if (i >= 0)
		set->oids[i] = set->oids[--set->n];
}

/* Remove an element.  Returns false if there is none; InvalidOid stands for those that did not fit. */
static bool
oidset_take(OidSet *set, Oid *oid)
{
	if (set->n > 0)
	{
		*oid = set->oids[--set->n];
		return true;
	}
	*oid = InvalidOid;
	if (set->overflown)
	{
		set->overflown = false;
		return true;
	}
	return false;
}

static Size
state_size(void)
{
	return offsetof(SharedState, slots) + sizeof(WorkerSlot) * max_worker_processes;
}

static void
request_space(void)
{
#if PG_VERSION_NUM >= 150000
	if (prev_request_hook)
		prev_request_hook();
#endif
	RequestAddinShmemSpace(MAXALIGN(state_size()) + MAXALIGN(tickets_size(COMPAT_MAX_BACKENDS)));
	RequestNamedLWLockTranche("mixpeek_docs", 1);
}

static void
init_shared_state(void)
{
	bool		found;

	if (prev_startup_hook)
		prev_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared_tickets = ShmemInitStruct("mixpeek_docs tickets", tickets_size(COMPAT_MAX_BACKENDS), &found);
	if (!found)
		tickets_init(shared_tickets, COMPAT_MAX_BACKENDS);
	state = ShmemInitStruct("mixpeek_docs", state_size(), &found);
	if (!found)
	{
		memset(state, 0, state_size());
		state->lock = &(GetNamedLWLockTranche("mixpeek_docs"))->lock;
		state->launcher_procno = -1;
		state->nslots = max_worker_processes;
		for (int i = 0; i < state->nslots; i++)
		{
			pg_atomic_init_u32(&state->slots[i].expects, 0);
			pg_atomic_init_u32(&state->slots[i].woken, 0);
			SpinLockInit(&state->slots[i].mutex);
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

void
shmem_request(void)
{
#if PG_VERSION_NUM >= 150000
	prev_request_hook = shmem_request_hook;
	shmem_request_hook = request_space;
#else
	request_space();
#endif
	prev_startup_hook = shmem_startup_hook;
	shmem_startup_hook = init_shared_state;
}

bool
shmem_available(void)
{
	return state != NULL;
}

static WorkerSlot *
find_slot(Oid database)
{
	for (int i = 0; i < state->nslots; i++)
	{
		if (state->slots[i].database == database)
			return &state->slots[i];
	}
	return NULL;
}

static void
set_latch(int procno)
{
	SetLatch(&ProcGlobal->allProcs[procno].procLatch);
}

/* The worker may reset the latch while it waits for a lock, so the slot has a flag as well. */
void
shmem_wake_worker(Oid database)
{
	WorkerSlot *slot;

	if (state == NULL)
		return;
	LWLockAcquire(state->lock, LW_SHARED);
	slot = find_slot(database);
	if (slot)
	{
		pg_atomic_write_u32(&slot->woken, 1);
		set_latch(slot->procno);
	}
	LWLockRelease(state->lock);
}

/*
 * This is called by every commit that changes a mirrored table, so it takes only the slot's spinlock.
 * If the slot is given to another database's worker meanwhile, that one reads some
 * blocks in vain; a new worker of this database reads the whole outbox to begin with.
 */
void
shmem_send_blocks(Oid database, const BlockSet *blocks)
{
	WorkerSlot *slot = state ? find_slot(database) : NULL;
	bool		many = blockset_size(blocks) > MANY_BLOCKS;

	if (slot == NULL)
		return;
	SpinLockAcquire(&slot->mutex);
	blockset_add_all(many ? &slot->wide_news : &slot->news, blocks);
	SpinLockRelease(&slot->mutex);
	if (pg_atomic_exchange_u32(&slot->expects, 0) == 1)
		set_latch(slot->procno);
}

void
shmem_note_prepared(Oid database, const BlockSet *blocks)
{
	WorkerSlot *slot = state ? find_slot(database) : NULL;

	if (slot == NULL || blocks->n == 0)
		return;
	SpinLockAcquire(&slot->mutex);
	blockset_add_all(&slot->prepared, blocks);
	SpinLockRelease(&slot->mutex);
}

void
shmem_send_prepared(Oid database)
{
	WorkerSlot *slot = state ? find_slot(database) : NULL;
	BlockSet	prepared;
	BlockSet	all = {0};

	if (slot == NULL)
		return;
	SpinLockAcquire(&slot->mutex);
	prepared = slot->prepared;
	SpinLockRelease(&slot->mutex);
	blockset_add_table(&all);
	shmem_send_blocks(database, &prepared);
	shmem_send_blocks(database, &all);
}

/* This process' slot; NULL if it is not a worker. */
static WorkerSlot *my_slot = NULL;

bool
shmem_is_attached(void)
{
	return my_slot != NULL;
}

void
shmem_expect_changes(void)
{
	if (my_slot)
		(void) pg_atomic_exchange_u32(&my_slot->expects, 1);
}

static bool
have_changes(void)
{
	bool		any;

	SpinLockAcquire(&my_slot->mutex);
	any = my_slot->news.n > 0 || my_slot->wide_news.n > 0;
	SpinLockRelease(&my_slot->mutex);
	return any;
}

bool
shmem_changes_wait(void)
{
	if (my_slot == NULL)
		return false;
	if (have_changes())
		return true;
	if (pg_atomic_read_u32(&my_slot->expects) == 1)
		return false;

	/* the changes that set the latch were taken already */
	shmem_expect_changes();
	return have_changes();
}

static void
move_blocks(BlockSet *from, BlockSet *to)
{
	blockset_add_all(to, from);
	from->n = 0;
}

void
shmem_take_changes(BlockSet *news, BlockSet *wide_news)
{
	if (my_slot == NULL)
		return;
	SpinLockAcquire(&my_slot->mutex);
	move_blocks(&my_slot->wide_news, wide_news);
	move_blocks(&my_slot->news, blockset_size(&my_slot->news) > MANY_BLOCKS * BLOCKSET_RANGES ? wide_news : news);
	SpinLockRelease(&my_slot->mutex);
}

bool
shmem_is_woken(void)
{
	return my_slot && pg_atomic_read_u32(&my_slot->woken) != 0;
}

bool
shmem_take_wake(void)
{
	return my_slot && pg_atomic_exchange_u32(&my_slot->woken, 0) != 0;
}

static void
detach_launcher(int code, Datum arg)
{
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	state->launcher_procno = -1;
	LWLockRelease(state->lock);
}

void
shmem_attach_launcher(void)
{
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	state->launcher_procno = COMPAT_PROC_NUMBER;
	LWLockRelease(state->lock);
	before_shmem_exit(detach_launcher, (Datum) 0);
}

static void
detach_worker(int code, Datum arg)
{
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	my_slot->database = InvalidOid;
	my_slot = NULL;
	if (state->launcher_procno >= 0)
		set_latch(state->launcher_procno);
	LWLockRelease(state->lock);
}

bool
shmem_attach_worker(Oid database)
{
	WorkerSlot *slot = NULL;

	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	if (find_slot(database) == NULL && oidset_index(&state->held, database) < 0)
		slot = find_slot(InvalidOid);
	if (slot)
	{
		pg_atomic_write_u32(&slot->expects, 0);
		pg_atomic_write_u32(&slot->woken, 0);
		SpinLockAcquire(&slot->mutex);
		slot->news.n = slot->wide_news.n = slot->prepared.n = 0;
		SpinLockRelease(&slot->mutex);
		slot->pid = MyProcPid;
		slot->procno = COMPAT_PROC_NUMBER;
		slot->has_extension = false;
		slot->database = database;
	}
	LWLockRelease(state->lock);
	my_slot = slot;
	if (slot)
		before_shmem_exit(detach_worker, (Datum) 0);
	return slot != NULL;
}

bool
shmem_worker_runs(Oid database)
{
	bool		runs;

	if (state == NULL)
		return false;
	LWLockAcquire(state->lock, LW_SHARED);
	runs = find_slot(database) != NULL;
	LWLockRelease(state->lock);
	return runs;
}

void
shmem_report_extension(void)
{
	if (my_slot == NULL)
		return;
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	my_slot->has_extension = true;
	if (state->launcher_procno >= 0)
		set_latch(state->launcher_procno);
	LWLockRelease(state->lock);
}

bool
shmem_worker_has_extension(Oid database)
{
	WorkerSlot *slot;
	bool		has;

	LWLockAcquire(state->lock, LW_SHARED);
	slot = find_slot(database);
	has = slot != NULL && slot->has_extension;
	LWLockRelease(state->lock);
	return has;
}

bool
shmem_database_is_held(Oid database)
{
	bool		held;

	LWLockAcquire(state->lock, LW_SHARED);
	held = oidset_index(&state->held, database) >= 0;
	LWLockRelease(state->lock);
	return held;
}

/*
 * The worker gets a signal, because it may be anywhere.  It has no transaction open for longer than
 * a claim takes.
 */
void
shmem_hold_database(Oid database)
{
	if (state == NULL)
		return;
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	oidset_push(&state->held, database);	/* each holder releases it once */
	LWLockRelease(state->lock);

	for (int i = 0; i < 500; i++)
	{
		int			pid = 0;
		WorkerSlot *slot;

		LWLockAcquire(state->lock, LW_SHARED);
		slot = find_slot(database);
		if (slot)
			pid = slot->pid;
		LWLockRelease(state->lock);
		if (pid == 0)
			break;
		if (i == 0)
			kill(pid, SIGTERM);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 10,
						 COMPAT_WAIT_EVENT);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

void
shmem_release_database(Oid database)
{
	if (state == NULL)
		return;
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	oidset_remove(&state->held, database);
	LWLockRelease(state->lock);
	shmem_request_probe(database);
}

static void
add_and_wake(OidSet *set, Oid database)
{
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	oidset_add(set, database);
	if (state->launcher_procno >= 0)
		set_latch(state->launcher_procno);
	LWLockRelease(state->lock);
}

static bool
take_database(OidSet *set, Oid *database)
{
	bool		any;

	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	any = oidset_take(set, database);
	LWLockRelease(state->lock);
	return any;
}

void
shmem_request_probe(Oid database)
{
	if (state)
		add_and_wake(&state->probes, database);
}

bool
shmem_take_probe(Oid *database)
{
	return take_database(&state->probes, database);
}

void
shmem_report_absent(Oid database)
{
	add_and_wake(&state->absent, database);
}

bool
shmem_take_absent(Oid *database)
{
	return take_database(&state->absent, database);
}
