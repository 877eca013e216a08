/*-------------------------------------------------------------------------
 *
 * walk.c
 *		What the worker looks at in the outbox, and in which order.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/clock.h"
#include "base/shmem.h"
#include "common/hashfn.h"
#include "state/outbox.h"
#include "worker/walk.h"
#include "worker/worker.h"

/* Blocks that one claim reads: some thousand entries, and some milliseconds. */
#define CLAIM_BLOCKS	32

/*
 * News of which nothing could be taken cost so many times their reading in rest, and at
 * most so many seconds: others' news wait for that.  A walk through much rests less, for
 * it comes to an end.
 */
#define NEWS_REST		30
#define MAX_NEWS_REST	0.01
#define WIDE_REST		2

/* Where no server takes any more keys, the others' are looked for so many seconds later. */
#define IDLE_NEWS_REST	0.02
#define IDLE_WIDE_REST	0.1

/* Mirrors that are remembered though nothing of them is left anywhere. */
#define MAX_IDLE_MIRRORS	1000

/* Two mirrors of one table whose collections have one hash would be taken for one. */
typedef struct MirrorKey
{
	uint64		collection_hash;
	Oid			relation;
	uint32		unused;			/* 0 */
} MirrorKey;

typedef struct WalkMirror
{
	MirrorKey	key;
	uint64		excluded;		/* from this claim */
	uint64		down;			/* since its server was, in this claim */
	uint64		read;			/* in this claim */
	BlockSet	left;			/* where it has left entries */
	TimestampTz due_left;		/* no due key before; DT_NOEND: none */
} WalkMirror;

static MirrorKey
mirror_key(Oid relation, const char *collection, int len)
{
	MirrorKey	key = {0};

	key.relation = relation;
	key.collection_hash = hash_bytes_extended((const unsigned char *) collection, len, 0);
	return key;
}

static WalkMirror *
find_mirror(Walk *walk, Oid relation, const char *collection, int len)
{
	MirrorKey	key = mirror_key(relation, collection, len);

	return hash_search(walk->mirrors, &key, HASH_FIND, NULL);
}

static WalkMirror *
get_mirror(Walk *walk, Oid relation, const char *collection)
{
	MirrorKey	key = mirror_key(relation, collection, strlen(collection));
	WalkMirror *mirror;
	bool		found;

	mirror = hash_search(walk->mirrors, &key, HASH_ENTER, &found);
	if (!found)
	{
		memset(mirror, 0, sizeof(WalkMirror));
		mirror->key = key;
		mirror->due_left = DT_NOEND;
	}
	return mirror;
}

static void
leave_block(Walk *walk, WalkMirror *mirror, BlockNumber block)
{
	if (mirror->left.n == 0)
		walk->nleft++;
	blockset_add(&mirror->left, block, block);
}

void
walk_init(Worker *worker)
{
	Walk	   *walk = &worker->walk;
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(MirrorKey);
	ctl.entrysize = sizeof(WalkMirror);
	ctl.hcxt = worker->context;
	walk->mirrors = hash_create("mixpeek walk", 32, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	walk->busy_due = walk->due_again = DT_NOEND;
	walk_all(worker);
}

void
walk_all(Worker *worker)
{
	blockset_add_table(&worker->walk.wide_next);
	worker->walk.walked_at = clock_seconds();
	worker->look = true;
}

static bool
have_wide(const Walk *walk)
{
	return walk->wide.n > 0 || walk->wide_next.n > 0;
}

double
walk_delay(const Worker *worker, double now)
{
	const Walk *walk = &worker->walk;
	double		wide_at = walk->wanted ? walk->wide_at : Max(walk->wide_at, walk->idle_at);
	double		at = -1;

	if (walk->look || walk->left_waits)
		return 0;
	if (walk->news.n > 0 || shmem_changes_wait())
		at = walk->news_at;
	if (have_wide(walk) && (at < 0 || wide_at < at))
		at = wide_at;
	return at < 0 ? -1 : Max(0, at - now);
}

/* Forgets those of which there is nothing to know. */
static void
forget_mirrors(Walk *walk)
{
	HASH_SEQ_STATUS status;
	WalkMirror *mirror;

	hash_seq_init(&status, walk->mirrors);
	while ((mirror = hash_seq_search(&status)) != NULL)
	{
		if (mirror->left.n == 0 && TIMESTAMP_IS_NOEND(mirror->due_left))
			(void) hash_search(walk->mirrors, &mirror->key, HASH_REMOVE, NULL);
	}
}

void
walk_begin(Worker *worker)
{
	Walk	   *walk = &worker->walk;

	walk->claim++;
	if (hash_get_num_entries(walk->mirrors) > MAX_IDLE_MIRRORS + walk->nleft)
		forget_mirrors(walk);
}

void
walk_exclude(Worker *worker, Oid relation, const char *collection, bool down)
{
	WalkMirror *mirror = get_mirror(&worker->walk, relation, collection);

	if (down)
		mirror->down = worker->walk.claim;
	else
		mirror->excluded = worker->walk.claim;
}

bool
walk_excludes(Worker *worker, Oid relation, const char *collection)
{
	WalkMirror *mirror = find_mirror(&worker->walk, relation, collection, strlen(collection));

	return mirror && mirror->excluded == worker->walk.claim;
}

bool
walk_is_down(Worker *worker, Oid relation, const char *collection)
{
	WalkMirror *mirror = find_mirror(&worker->walk, relation, collection, strlen(collection));

	return mirror && mirror->down == worker->walk.claim;
}

static bool
entry_stays(void *arg, Oid relation, const text * collection, BlockNumber block)
{
	Walk	   *walk = arg;
	WalkMirror *mirror = find_mirror(walk, relation, VARDATA_ANY(collection), VARSIZE_ANY_EXHDR(collection));

	if (mirror == NULL || mirror->excluded != walk->claim)
		return false;
	leave_block(walk, mirror, block);
	return true;
}

static List *
read_set(Walk *walk, OutboxRead *read, BlockSet *set)
{
	List	   *entries = outbox_read(read, set);

	if (read->moved && walk->filenode != 0)
		blockset_add_table(&walk->wide_next);	/* and what the sets say means
												 * nothing now, which does no
												 * harm */
	walk->filenode = read->filenode;
	return entries;
}

static List *
read_news(Walk *walk, OutboxRead *read)
{
	double		began = clock_seconds();
	List	   *entries;

	if (walk->news.n == 0)
		shmem_take_changes(&walk->news, &walk->wide_next);
	if (walk->news.n == 0)
		return NIL;
	entries = read_set(walk, read, &walk->news);
	if (entries == NIL && walk->news.n == 0)
	{
		double		now = clock_seconds();

		walk->news_at = now + Min((now - began) * NEWS_REST, MAX_NEWS_REST);
	}
	walk->news_last = read->limit == 0;
	return entries;
}

static List *
read_wide(Walk *walk, OutboxRead *read)
{
	double		began = clock_seconds();
	List	   *entries;

	if (walk->wide.n == 0)
	{
		blockset_add_all(&walk->wide, &walk->wide_next);
		walk->wide_next.n = 0;
	}
	entries = read_set(walk, read, &walk->wide);
	if (entries == NIL)
		walk->wide_at = clock_seconds() + (clock_seconds() - began) * WIDE_REST;
	return entries;
}

/* Of the mirrors that may take keys now and have left some, that whose turn it is. */
static WalkMirror *
next_mirror(Walk *walk)
{
	WalkMirror *next = NULL;
	HASH_SEQ_STATUS status;
	WalkMirror *mirror;

	if (walk->nleft == 0)
		return NULL;
	hash_seq_init(&status, walk->mirrors);
	while ((mirror = hash_seq_search(&status)) != NULL)
	{
		if (mirror->left.n > 0 && mirror->excluded != walk->claim && (next == NULL || mirror->read < next->read))
			next = mirror;
	}
	return next;
}

static List *
read_left(Walk *walk, OutboxRead *read)
{
	List	   *entries = NIL;
	WalkMirror *mirror;

	while (read->limit > 0 && read->blocks > 0 && (mirror = next_mirror(walk)) != NULL && mirror->read < walk->claim)
	{
		mirror->read = walk->claim;
		entries = list_concat(entries, read_set(walk, read, &mirror->left));
		if (mirror->left.n == 0)
			walk->nleft--;
	}
	return entries;
}

/* Others are not to wait for news for ever, where these alone take all that there is room for. */
List *
walk_read(Worker *worker, int limit)
{
	Walk	   *walk = &worker->walk;
	OutboxRead	read = {entry_stays, walk, limit, CLAIM_BLOCKS, 0, walk->filenode, false};
	bool		news_last = walk->news_last;
	List	   *entries = NIL;

	walk->look = walk->news_last = false;
	if (!news_last)
		entries = read_news(walk, &read);
	entries = list_concat(entries, read_left(walk, &read));
	if (have_wide(walk) && read.limit > 0 && read.blocks > 0 && clock_seconds() >= walk->wide_at)
		entries = list_concat(entries, read_wide(walk, &read));
	if (news_last && read.limit > 0 && read.blocks > 0)
		entries = list_concat(entries, read_news(walk, &read));
	return entries;
}

void
walk_end(Worker *worker, bool wanted)
{
	Walk	   *walk = &worker->walk;
	double		now = clock_seconds();

	walk->wanted = wanted;
	walk->left_waits = next_mirror(walk) != NULL;
	worker->look = walk->left_waits || walk->news.n > 0 || have_wide(walk);
	walk->idle_at = now + IDLE_WIDE_REST;
	if (!wanted)
		walk->news_at = Max(walk->news_at, now + IDLE_NEWS_REST);
}

void
walk_leave(Worker *worker, Oid relation, const char *collection, BlockNumber block, bool busy)
{
	WalkMirror *mirror;

	if (busy)
	{
		blockset_add(&worker->walk.busy, block, block);
		return;
	}
	mirror = get_mirror(&worker->walk, relation, collection);
	mirror->excluded = worker->walk.claim;	/* and so are others of it, until
											 * the next claim */
	leave_block(&worker->walk, mirror, block);
}

void
walk_look_left(Worker *worker)
{
	Walk	   *walk = &worker->walk;

	blockset_add_all(&walk->news, &walk->later);
	walk->later.n = 0;
	walk->look = worker->look = true;
}

void
walk_look_busy(Worker *worker)
{
	Walk	   *walk = &worker->walk;

	blockset_add_all(&walk->news, &walk->busy);
	walk->busy.n = 0;
	walk->due_again = Min(walk->due_again, walk->busy_due);
	walk->busy_due = DT_NOEND;
	walk->look = worker->look = true;
}

/*
 * Keys that are due
 */

void
walk_leave_due(Worker *worker, Oid relation, const char *collection, TimestampTz due)
{
	WalkMirror *mirror = get_mirror(&worker->walk, relation, collection);

	mirror->excluded = worker->walk.claim;
	mirror->due_left = Min(mirror->due_left, due);
}

TimestampTz
walk_first_due_left(Worker *worker)
{
	TimestampTz first = worker->walk.due_again;
	HASH_SEQ_STATUS status;
	WalkMirror *mirror;

	hash_seq_init(&status, worker->walk.mirrors);
	while ((mirror = hash_seq_search(&status)) != NULL)
	{
		if (mirror->excluded != worker->walk.claim)
			first = Min(first, mirror->due_left);
	}
	return first;
}

void
walk_pass_due_left(Worker *worker, TimestampTz before, TimestampTz position)
{
	HASH_SEQ_STATUS status;
	WalkMirror *mirror;

	if (worker->walk.due_again < before)
		worker->walk.due_again = position;
	hash_seq_init(&status, worker->walk.mirrors);
	while ((mirror = hash_seq_search(&status)) != NULL)
	{
		if (mirror->excluded != worker->walk.claim && mirror->due_left < before)
			mirror->due_left = position;
	}
}
