/*-------------------------------------------------------------------------
 *
 * witness.c
 *		A file outside of the data directory that tells whether it went back to
 *		an earlier time.
 *
 * If a snapshot of the volume is put back, all files of the server are as they were then, and
 * nothing inside of the data directory can tell.  So before a request is sent, the end of the WAL,
 * up to which the intent was flushed, is written to a file in mixpeek.witness_directory, by
 * default the directory of the server's socket.  A server whose WAL ends before that has lost
 * commits.  The file also has the incarnation of the origin, which mixpeek.adopt() makes anew: an
 * older incarnation than the witness has seen comes from an older state, however far its WAL has
 * been written since.  A newer one knows all that came before it, since the witness may have seen any of
 * them last: it is written only before requests.
 *
 * The file's name has the cluster, the database and the data directory's inode: a copy of the
 * cluster on the same machine has a file of its own.  (It is noticed by its inode; see instance.c.)
 * The directory may be lost at a reboot, and then there is no witness, as before the first
 * request.  Other users may be able to write to it, so a file of another owner, and a link,
 * is no witness.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "base/settings.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "postmaster/postmaster.h"
#include "state/witness.h"
#include "storage/fd.h"

#define WITNESS_MAGIC	0x6d697802
#define WITNESS_PREFIX	".mixpeek_docs."
#define INCARNATION_LENGTH	36	/* of a uuid's text */

typedef struct Witness
{
	uint32		magic;
	char		incarnation[INCARNATION_LENGTH];
	XLogRecPtr	flushed;
} Witness;

/* What this process has written last; flushed is 0 if it has written nothing. */
static Witness noted;

/* Return the directory of the witness, palloc'd, or NULL if there is none. */
static char *
find_directory(void)
{
	const char *name = mixpeek_witness_directory;
	char	   *directory;

	if (name == NULL || name[0] == '\0')
		name = Unix_socket_directories ? Unix_socket_directories : "";
	directory = pnstrdup(name, strcspn(name, ","));
	while (strlen(directory) > 1 && strchr("/ ", directory[strlen(directory) - 1]))
		directory[strlen(directory) - 1] = '\0';
	return is_absolute_path(directory) ? directory : NULL;
}

/* Return the beginning of the names of a database's witnesses. */
static char *
make_prefix(Oid database)
{
	return psprintf(WITNESS_PREFIX UINT64_FORMAT ".%u.", GetSystemIdentifier(), database);
}

/* Return the name of this database's witness, palloc'd, or NULL. */
static char *
make_name(void)
{
	char	   *directory = find_directory();
	struct stat st;

	if (directory == NULL || stat(DataDir, &st) != 0)
		return NULL;
	return psprintf("%s/%s%lu", directory, make_prefix(MyDatabaseId), (unsigned long) st.st_ino);
}

/* Open the witness; return -1 if there is none, or it may be another user's. */
static int
open_file(int flags)
{
	char	   *name = make_name();
	int			file = name ? open(name, flags | O_CLOEXEC | O_NOFOLLOW, pg_file_create_mode) : -1;
	struct stat st;

	if (file >= 0 && (fstat(file, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid()))
	{
		close(file);
		file = -1;
	}
	return file;
}

/* Read the witness; return false if there is none. */
static bool
read_witness(Witness *witness)
{
	int			file = open_file(O_RDONLY);
	bool		is_read;

	if (file < 0)
		return false;
	is_read = pread(file, witness, sizeof(*witness), 0) == sizeof(*witness) && witness->magic == WITNESS_MAGIC;
	close(file);
	return is_read;
}

static bool
has_incarnation(const Witness *witness, const char *incarnation)
{
	return incarnation && strlen(incarnation) == INCARNATION_LENGTH &&
		memcmp(witness->incarnation, incarnation, INCARNATION_LENGTH) == 0;
}

WitnessVerdict
witness_ask(const char *incarnation, const char *replaces)
{
	Witness		witness;

	if (noted.flushed != 0 && has_incarnation(&noted, incarnation))
		return WITNESS_CONFIRMS;
	if (!read_witness(&witness))
		return WITNESS_SILENT;
	if (has_incarnation(&witness, incarnation))
		return GetXLogInsertRecPtr() < witness.flushed ? WITNESS_DENIES : WITNESS_CONFIRMS;
	return strstr(replaces, pnstrdup(witness.incarnation, INCARNATION_LENGTH)) ? WITNESS_CONFIRMS : WITNESS_DENIES;
}

char *
witness_incarnation(void)
{
	Witness		witness;

	return read_witness(&witness) ? pnstrdup(witness.incarnation, INCARNATION_LENGTH) : NULL;
}

void
witness_note(const char *incarnation, XLogRecPtr flushed)
{
	static int	file = -1;
	ssize_t		written;

	if (file < 0)
		file = open_file(O_RDWR | O_CREAT);
	if (file < 0 || strlen(incarnation) != INCARNATION_LENGTH)
		return;
	noted.magic = WITNESS_MAGIC;
	memcpy(noted.incarnation, incarnation, INCARNATION_LENGTH);
	noted.flushed = flushed;
	written = pwrite(file, &noted, sizeof(noted), 0);
	(void) written;
}

void
witness_forget(Oid database)
{
	char	   *directory = find_directory();
	char	   *prefix = make_prefix(database);
	DIR		   *dir = directory ? AllocateDir(directory) : NULL;
	struct dirent *entry;

	while (dir && (entry = ReadDirExtended(dir, directory, DEBUG1)) != NULL)
	{
		if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
			(void) unlink(psprintf("%s/%s", directory, entry->d_name));
	}
	if (dir)
		FreeDir(dir);
}
