/*
 * journal.c
 *	  The documents' changes in a file: appended with one write() each, so that
 *	  what was answered outlives kill -9 (not a crash of the machine: there is
 *	  no fsync).
 *
 * A record is a line, and then so many bytes of namespace, collection, document
 * id and document text:
 *	  kind created_at updated_at lengths\n
 * with kind C (created), U (updated) or D (deleted, without text).
 */
#include "journal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "options.h"

static int	journal = -1;

static void
die(const char *what)
{
	fprintf(stderr, "mixpeek_server: could not %s journal \"%s\": %m\n", what, options.journal);
	exit(1);
}

/* Restores one record; NULL if it was not written to its end. */
static const char *
replay_record(const char *at, const char *end)
{
	const char *newline = memchr(at, '\n', end - at);
	char		line[256];
	char		kind;
	double		created,
				updated;
	size_t		lengths[4];
	char	   *names[3];

	if (!newline || newline - at >= (long) sizeof(line))
		return NULL;
	memcpy(line, at, newline - at);
	line[newline - at] = '\0';
	if (sscanf(line, "%c %lf %lf %zu %zu %zu %zu", &kind, &created, &updated,
			   &lengths[0], &lengths[1], &lengths[2], &lengths[3]) != 7)
		return NULL;
	at = newline + 1;
	if ((size_t) (end - at) < lengths[0] + lengths[1] + lengths[2] + lengths[3])
		return NULL;
	for (int i = 0; i < 3; at += lengths[i++])
		names[i] = copy_bytes(at, lengths[i]);
	store_restore(store_collection(names[0], names[1], true), names[2],
				  kind == 'D' ? NULL : copy_bytes(at, lengths[3]), lengths[3], created, updated);
	for (int i = 0; i < 3; i++)
		free(names[i]);
	return at + lengths[3];
}

/* Returns the length of the whole records at the file's start. */
static size_t
replay(size_t size)
{
	const char *start = mmap(NULL, size, PROT_READ, MAP_PRIVATE, journal, 0);
	const char *end = start + size;
	const char *at = start;
	const char *next;

	if (start == MAP_FAILED)
		die("read");
	while (at < end && (next = replay_record(at, end)))
		at = next;
	size = at - start;
	munmap((void *) start, end - start);
	return size;
}

void
journal_open(void)
{
	struct stat status;
	size_t		valid;

	journal = open(options.journal, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (journal < 0 || fstat(journal, &status) != 0)
		die("open");
	if (!status.st_size)
		return;
	valid = replay(status.st_size);
	if (valid < (size_t) status.st_size && ftruncate(journal, valid) != 0)
		die("truncate");
}

/* Returns when the change has been written; ends the program if it cannot be. */
void
journal_put(char kind, const Document *document)
{
	const Collection *c = document->collection;
	size_t		length = kind == 'D' ? 0 : document->length;
	char		line[256];
	struct iovec parts[5];
	size_t		total = 0;

	if (journal < 0)
		return;
	parts[0] = (struct iovec) {line, snprintf(line, sizeof(line), "%c %.6f %.6f %zu %zu %zu %zu\n", kind,
											 document->created_at, document->updated_at, strlen(c->namespace),
											 strlen(c->name), strlen(document->id), length)};
	parts[1] = (struct iovec) {c->namespace, strlen(c->namespace)};
	parts[2] = (struct iovec) {c->name, strlen(c->name)};
	parts[3] = (struct iovec) {document->id, strlen(document->id)};
	parts[4] = (struct iovec) {document->text, length};
	for (int i = 0; i < 5; i++)
		total += parts[i].iov_len;
	if (writev(journal, parts, 5) != (ssize_t) total)
		die("write");
}

void
journal_clear(void)
{
	if (journal >= 0 && ftruncate(journal, 0) != 0)
		die("truncate");
}
