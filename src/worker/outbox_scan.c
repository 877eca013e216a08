/*-------------------------------------------------------------------------
 *
 * outbox_scan.c
 *		Which blocks of the outbox are still to be read, and in which order.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/clock.h"
#include "base/shmem.h"
#include "common/hashfn.h"
#include "state/outbox.h"
#include "worker/outbox_scan.h"
#include "worker/worker.h"

/* Blocks that one claim reads: that is some thousand entries, and takes some milliseconds. */
#define CLAIM_BLOCKS	32

/*
 * If nothing could be taken of the news that were read, the next ones wait so many times as long as
 * the reading took, and at most so many seconds: news of other mirrors may be among them.  A wide
 * reading waits less, because it comes to an end.
 */
#define NEWS_PAUSE_FACTOR	30
#define MAX_NEWS_PAUSE		0.01
#define WIDE_PAUSE_FACTOR	2

/* If no account takes any more keys, the outbox is read again after so many seconds. */
#define IDLE_NEWS_PAUSE		0.02
#define IDLE_WIDE_PAUSE		0.1

/* How many mirrors are remembered of which nothing is left in the outbox. */
#define MAX_IDLE_MIRRORS	1000

/*
 * The key of a mirror.  If the collections of two mirrors of a table have the same hash, both are
 * handled as one, which is harmless.
 */
typedef struct MirrorKey
{
	uint64		collection_hash;
	Oid			relation;
	uint32		unused;			/* 0 */
} MirrorKey;

typedef struct ScannedMirror
{
	MirrorKey	key;
	uint64		excluded;		/* number of the claim that it is excluded
								 * from */
	uint64		down;			/* number of the claim in which its account is
								 * down */
	uint64		read;			/* number of the claim that read its entries
								 * last */
	BlockSet	left;			/* blocks in which it has left entries */
	TimestampTz due_left;		/* the first due record that it has left;
								 * DT_NOEND: none */
} ScannedMirror;

static MirrorKey
make_mirror_key(Oid relation, const char *collection, int len)
{
	MirrorKey	key = {0};

	key.relation = relation;
	key.collection_hash = hash_bytes_extended((const unsigned char *) collection, len, 0);
	return key;
}

static ScannedMirror *
find_scanned_mirror(OutboxScan *scan, Oid relation, const char *collection, int len)
{
	MirrorKey	key = make_mirror_key(relation, collection, len);

	return hash_search(scan->mirrors, &key, HASH_FIND, NULL);
}

static ScannedMirror *
get_scanned_mirror(OutboxScan *scan, Oid relation, const char *collection)
{
	MirrorKey	key = make_mirror_key(relation, collection, strlen(collection));
	ScannedMirror *mirror;
	bool		found;

	mirror = hash_search(scan->mirrors, &key, HASH_ENTER, &found);
	if (!found)
	{
		memset(mirror, 0, sizeof(ScannedMirror));
		mirror->key = key;
		mirror->due_left = DT_NOEND;
	}
	return mirror;
}

static void
leave_block(OutboxScan *scan, ScannedMirror *mirror, BlockNumber block)
{
	if (mirror->left.n == 0)
		scan->nleft++;
	blockset_add(&mirror->left, block, block);
}

void
outbox_scan_init(Worker *worker)
{
	OutboxScan *scan = &worker->schedule.scan;
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(MirrorKey);
	ctl.entrysize = sizeof(ScannedMirror);
	ctl.hcxt = worker->context;
	scan->mirrors = hash_create("mixpeek walk", 32, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	scan->busy_due = scan->due_again = DT_NOEND;
	outbox_scan_restart(worker);
}

void
outbox_scan_restart(Worker *worker)
{
	blockset_add_table(&worker->schedule.scan.wide_next);
	worker->schedule.scan.restarted_at = clock_seconds();
	worker->schedule.more = true;
}

static bool
has_wide(const OutboxScan *scan)
{
	return scan->wide.n > 0 || scan->wide_next.n > 0;
}

double
outbox_scan_delay(const Worker *worker, double now)
{
	const OutboxScan *scan = &worker->schedule.scan;
	double		wide_at = scan->wanted ? scan->wide_at : Max(scan->wide_at, scan->idle_at);
	double		at = -1;

	if (scan->scan_now || scan->left_waits)
		return 0;
	if (scan->news.n > 0 || shmem_changes_wait())
		at = scan->news_at;
	if (has_wide(scan) && (at < 0 || wide_at < at))
		at = wide_at;
	return at < 0 ? -1 : Max(0, at - now);
}

/* Forget the mirrors of which nothing is left. */
static void
forget_idle_mirrors(OutboxScan *scan)
{
	HASH_SEQ_STATUS status;
	ScannedMirror *mirror;

	hash_seq_init(&status, scan->mirrors);
	while ((mirror = hash_seq_search(&status)) != NULL)
	{
		if (mirror->left.n == 0 && TIMESTAMP_IS_NOEND(mirror->due_left))
			(void) hash_search(scan->mirrors, &mirror->key, HASH_REMOVE, NULL);
	}
}

void
outbox_scan_begin_claim(Worker *worker)
{
	OutboxScan *scan = &worker->schedule.scan;

	scan->claim++;
	if (hash_get_num_entries(scan->mirrors) > MAX_IDLE_MIRRORS + scan->nleft)
		forget_idle_mirrors(scan);
}

void
outbox_scan_exclude(Worker *worker, Oid relation, const char *collection, bool down)
{
	ScannedMirror *mirror = get_scanned_mirror(&worker->schedule.scan, relation, collection);

	if (down)
		mirror->down = worker->schedule.scan.claim;
	else
		mirror->excluded = worker->schedule.scan.claim;
}

bool
outbox_scan_is_excluded(Worker *worker, Oid relation, const char *collection)
{
	ScannedMirror *mirror = find_scanned_mirror(&worker->schedule.scan, relation, collection, strlen(collection));

	return mirror && mirror->excluded == worker->schedule.scan.claim;
}

bool
outbox_scan_is_down(Worker *worker, Oid relation, const char *collection)
{
	ScannedMirror *mirror = find_scanned_mirror(&worker->schedule.scan, relation, collection, strlen(collection));

	return mirror && mirror->down == worker->schedule.scan.claim;
}

static bool
entry_stays(void *arg, Oid relation, const text * collection, BlockNumber block)
{
	OutboxScan *scan = arg;
	ScannedMirror *mirror = find_scanned_mirror(scan, relation, VARDATA_ANY(collection), VARSIZE_ANY_EXHDR(collection));

	if (mirror == NULL || mirror->excluded != scan->claim)
		return false;
	leave_block(scan, mirror, block);
	return true;
}

static List *
read_set(OutboxScan *scan, OutboxRead *read, BlockSet *set)
{
	List	   *entries = outbox_read(read, set);

	if (read->moved && scan->filenode != 0)
		blockset_add_table(&scan->wide_next);	/* the sets name blocks of the
												 * old file, which is harmless */
	scan->filenode = read->filenode;
	return entries;
}

static List *
read_news(OutboxScan *scan, OutboxRead *read)
{
	double		began = clock_seconds();
	List	   *entries;

	if (scan->news.n == 0)
		shmem_take_changes(&scan->news, &scan->wide_next);
	if (scan->news.n == 0)
		return NIL;
	entries = read_set(scan, read, &scan->news);
	if (entries == NIL && scan->news.n == 0)
	{
		double		now = clock_seconds();

		scan->news_at = now + Min((now - began) * NEWS_PAUSE_FACTOR, MAX_NEWS_PAUSE);
	}
	scan->news_last = read->limit == 0;
	return entries;
}

static List *
read_wide(OutboxScan *scan, OutboxRead *read)
{
	double		began = clock_seconds();
	List	   *entries;

	if (scan->wide.n == 0)
	{
		blockset_add_all(&scan->wide, &scan->wide_next);
		scan->wide_next.n = 0;
	}
	entries = read_set(scan, read, &scan->wide);
	if (entries == NIL)
		scan->wide_at = clock_seconds() + (clock_seconds() - began) * WIDE_PAUSE_FACTOR;
	return entries;
}

/* Return the mirror whose turn it is among those that have left entries and may take keys now; or NULL. */
static ScannedMirror *
next_mirror(OutboxScan *scan)
{
	ScannedMirror *next = NULL;
	HASH_SEQ_STATUS status;
	ScannedMirror *mirror;

	if (scan->nleft == 0)
		return NULL;
	hash_seq_init(&status, scan->mirrors);
	while ((mirror = hash_seq_search(&status)) != NULL)
	{
		if (mirror->left.n > 0 && mirror->excluded != scan->claim && (next == NULL || mirror->read < next->read))
			next = mirror;
	}
	return next;
}

static List *
read_left(OutboxScan *scan, OutboxRead *read)
{
	List	   *entries = NIL;
	ScannedMirror *mirror;

	while (read->limit > 0 && read->blocks > 0 && (mirror = next_mirror(scan)) != NULL && mirror->read < scan->claim)
	{
		mirror->read = scan->claim;
		entries = list_concat(entries, read_set(scan, read, &mirror->left));
		if (mirror->left.n == 0)
			scan->nleft--;
	}
	return entries;
}

/*
 * If the news alone have taken all the room, they are read last in the next claim, so that other
 * entries need not wait for ever.
 */
List *
outbox_scan_read(Worker *worker, int limit)
{
	OutboxScan *scan = &worker->schedule.scan;
	OutboxRead	read = {entry_stays, scan, limit, CLAIM_BLOCKS, 0, scan->filenode, false};
	bool		news_last = scan->news_last;
	List	   *entries = NIL;

	scan->scan_now = scan->news_last = false;
	if (!news_last)
		entries = read_news(scan, &read);
	entries = list_concat(entries, read_left(scan, &read));
	if (has_wide(scan) && read.limit > 0 && read.blocks > 0 && clock_seconds() >= scan->wide_at)
		entries = list_concat(entries, read_wide(scan, &read));
	if (news_last && read.limit > 0 && read.blocks > 0)
		entries = list_concat(entries, read_news(scan, &read));
	return entries;
}

void
outbox_scan_end_claim(Worker *worker, bool wanted)
{
	OutboxScan *scan = &worker->schedule.scan;
	double		now = clock_seconds();

	scan->wanted = wanted;
	scan->left_waits = next_mirror(scan) != NULL;
	worker->schedule.more = scan->left_waits || scan->news.n > 0 || has_wide(scan);
	scan->idle_at = now + IDLE_WIDE_PAUSE;
	if (!wanted)
		scan->news_at = Max(scan->news_at, now + IDLE_NEWS_PAUSE);
}

void
outbox_scan_leave(Worker *worker, Oid relation, const char *collection, BlockNumber block, bool busy)
{
	ScannedMirror *mirror;

	if (busy)
	{
		blockset_add(&worker->schedule.scan.busy, block, block);
		return;
	}
	mirror = get_scanned_mirror(&worker->schedule.scan, relation, collection);
	mirror->excluded = worker->schedule.scan.claim; /* its other entries are
													 * left as well */
	leave_block(&worker->schedule.scan, mirror, block);
}

void
outbox_scan_retry_left(Worker *worker)
{
	OutboxScan *scan = &worker->schedule.scan;

	blockset_add_all(&scan->news, &scan->later);
	scan->later.n = 0;
	scan->scan_now = worker->schedule.more = true;
}

void
outbox_scan_retry_busy(Worker *worker)
{
	OutboxScan *scan = &worker->schedule.scan;

	blockset_add_all(&scan->news, &scan->busy);
	scan->busy.n = 0;
	scan->due_again = Min(scan->due_again, scan->busy_due);
	scan->busy_due = DT_NOEND;
	scan->scan_now = worker->schedule.more = true;
}

/*
 * Due records
 */

void
outbox_scan_leave_due(Worker *worker, Oid relation, const char *collection, TimestampTz due)
{
	ScannedMirror *mirror = get_scanned_mirror(&worker->schedule.scan, relation, collection);

	mirror->excluded = worker->schedule.scan.claim;
	mirror->due_left = Min(mirror->due_left, due);
}

TimestampTz
outbox_scan_first_due_left(Worker *worker)
{
	TimestampTz first = worker->schedule.scan.due_again;
	HASH_SEQ_STATUS status;
	ScannedMirror *mirror;

	hash_seq_init(&status, worker->schedule.scan.mirrors);
	while ((mirror = hash_seq_search(&status)) != NULL)
	{
		if (mirror->excluded != worker->schedule.scan.claim)
			first = Min(first, mirror->due_left);
	}
	return first;
}

void
outbox_scan_pass_due_left(Worker *worker, TimestampTz before, TimestampTz position)
{
	HASH_SEQ_STATUS status;
	ScannedMirror *mirror;

	if (worker->schedule.scan.due_again < before)
		worker->schedule.scan.due_again = position;
	hash_seq_init(&status, worker->schedule.scan.mirrors);
	while ((mirror = hash_seq_search(&status)) != NULL)
	{
		if (mirror->excluded != worker->schedule.scan.claim && mirror->due_left < before)
			mirror->due_left = position;
	}
}
