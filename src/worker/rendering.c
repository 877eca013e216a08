/*-------------------------------------------------------------------------
 *
 * rendering.c
 *		A job's rendering: the content and features of its row's document.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "utils/memutils.h"
#include "worker/account.h"
#include "worker/rendering.h"

/* Bytes of all accounts' renderings. */
static size_t total_bytes = 0;

RenderingRoom
rendering_room(const Account *account)
{
	RenderingRoom room = {0, account->bytes == 0};

	if (account->bytes < MAX_BYTES && total_bytes < MAX_TOTAL_BYTES)
		room.bytes = Min(MAX_BYTES - account->bytes, MAX_TOTAL_BYTES - total_bytes);
	return room;
}

static void
forget_text(char **text, int *len)
{
	if (*text)
		pfree(*text);
	*text = NULL;
	*len = 0;
}

void
rendering_forget(Job *job)
{
	int			bytes = job->content_len + job->features_len;

	if (job->counted && bytes > 0)
	{
		job->account->bytes -= bytes;
		total_bytes -= bytes;
		job->account->full = false;
	}
	job->counted = false;
	forget_text(&job->content, &job->content_len);
	forget_text(&job->features, &job->features_len);
}

static char *
allocate_text(Job *job, int len)
{
	char	   *text = MemoryContextAllocExtended(job->context, (Size) len + 1, MCXT_ALLOC_HUGE);

	text[len] = '\0';
	return text;
}

void
rendering_begin(Job *job, int content_len, int features_len)
{
	rendering_forget(job);
	job->row_exists = false;
	job->content = allocate_text(job, content_len);
	job->content_len = content_len;
	if (features_len < 0)
		return;
	job->features = allocate_text(job, features_len);
	job->features_len = features_len;
}

void
rendering_end(Job *job)
{
	int			bytes = job->content_len + job->features_len;

	job->row_exists = true;
	job->counted = true;
	job->account->bytes += bytes;
	total_bytes += bytes;
	job->account->mean_bytes += (bytes - job->account->mean_bytes) / 10;
}

static void
hash_text(pg_cryptohash_ctx *hasher, const char *text, int len, ContentHash *hash)
{
	if (pg_cryptohash_init(hasher) < 0 ||
		pg_cryptohash_update(hasher, (const uint8 *) text, len) < 0 ||
		pg_cryptohash_final(hasher, hash->bytes, HASH_LENGTH) < 0)
		elog(ERROR, "could not compute SHA-256 hash");
	hash->known = true;
}

void
rendering_hash(List *jobs)
{
	pg_cryptohash_ctx *hasher = pg_cryptohash_create(PG_SHA256);
	ListCell   *lc;

	foreach(lc, jobs)
	{
		Job		   *job = lfirst(lc);

		if (job->content == NULL)
			continue;
		hash_text(hasher, job->content, job->content_len, &job->content_hash);
		if (job->features_len > 0)
			hash_text(hasher, job->features, job->features_len, &job->features_hash);
		else
			job->features_hash = NO_HASH;
	}
	pg_cryptohash_free(hasher);
}
