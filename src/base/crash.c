/*-------------------------------------------------------------------------
 *
 * crash.c
 *		What a process records for its successor in case it crashes.
 *
 * When a process of the server crashes, the postmaster ends all others and
 * reinitializes shared memory, so what must be known afterwards has to be in a file.  There
 * is one for each database, in pg_stat_tmp: files there survive a crash, base backups and
 * pg_rewind leave them out, and losing them costs only this information.  A file
 * is valid for one boot of the machine, because a reboot may have ended the process.
 *
 * A fatal signal (SIGSEGV etc.) is recorded by the process that gets it, in the signal
 * handler, with the table that it was working on.  SIGKILL cannot be handled, so where a
 * table needs much work the note is written to the file beforehand.  A process that is
 * ended because another one crashed (SIGQUIT) removes its note, and so does one that
 * is asked to end.  The notes that are left are of tables on which a process crashed.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/settings.h"
#include "common/file_perm.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/pmsignal.h"
#include "tcop/tcopprot.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#define CRASH_MAGIC		0x6d697801
#define BOOT_ID			"/proc/sys/kernel/random/boot_id"
#define BOOT_ID_LENGTH	36

/* The end of a worker that ran for so many seconds is no reason to delay the next one. */
#define GOOD_LIFE		60.0

/* Seconds before the next worker starts after the second of several quick crashes; doubled by each further one. */
#define MIN_DELAY		1.0
#define MAX_DELAY		60.0

/* The stack of the signal handlers: the signal may be due to a stack overflow. */
#define HANDLER_STACK	(64 * 1024)

typedef struct Slot
{
	Oid			relation;		/* being worked on */
	int32		end;			/* a CrashEnd; CRASH_KILLED while it runs */
	int32		signal;
	int32		running;		/* its end was not recorded */
	int32		deaths;			/* crashes in a row, each soon after the start */
	int32		pid;
	int64		started;		/* clock_elapsed() */
} Slot;

typedef struct Header
{
	uint32		magic;
	TimeLineID	timeline;
	int32		clock_known;
	char		boot[BOOT_ID_LENGTH];
	int64		clock_offset;
} Header;

typedef struct CrashFile
{
	Header		header;
	Slot		slots[CRASH_SLOTS];
} CrashFile;

static int	fd = -1;
static CrashFile before;		/* the file when this process opened it */
static int	my_slot;
static Slot mine;				/* this process' slot in the file */
static volatile sig_atomic_t noted = InvalidOid;
static volatile sig_atomic_t is_terminated = false;
static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGABRT};
static struct sigaction former[lengthof(faults)];

static void
file_name(Oid database, char *name, size_t size)
{
	snprintf(name, size, "%s/mixpeek_docs.%u", PG_STAT_TMP_DIR, database);
}

/* Write to the file.  Errors, such as a full disk, are ignored: they cost only the information. */
static void
write_at(const void *data, size_t length, off_t offset)
{
	int			save_errno = errno;
	ssize_t		written = fd >= 0 ? pwrite(fd, data, length, offset) : 0;

	(void) written;
	errno = save_errno;
}

static void
write_mine(void)
{
	write_at(&mine, sizeof(mine), offsetof(CrashFile, slots) + my_slot * sizeof(Slot));
}

static bool
read_boot_id(char *boot)
{
	int			boot_fd = open(BOOT_ID, O_RDONLY | O_CLOEXEC);
	bool		ok = boot_fd >= 0 && read(boot_fd, boot, BOOT_ID_LENGTH) == BOOT_ID_LENGTH;

	if (boot_fd >= 0)
		close(boot_fd);
	return ok;
}

/* Read the file.  The content is empty if the file is of another boot of the machine. */
static void
read_file(int file, CrashFile *content)
{
	char		boot[BOOT_ID_LENGTH] = {0};
	bool		known = read_boot_id(boot);

	if (pread(file, content, sizeof(*content), 0) == sizeof(*content) && known &&
		content->header.magic == CRASH_MAGIC &&
		memcmp(content->header.boot, boot, BOOT_ID_LENGTH) == 0)
		return;
	memset(content, 0, sizeof(*content));
	content->header.magic = CRASH_MAGIC;
	memcpy(content->header.boot, boot, BOOT_ID_LENGTH);
}

/*
 * Deaths
 */

/* Return the seconds to wait after a number of crashes in a row. */
static double
start_delay_after(int deaths)
{
	double		delay = MIN_DELAY;

	if (deaths < 2)
		return 0;
	for (int i = 2; i < deaths && delay < MAX_DELAY; i++)
		delay *= 2;
	return Min(delay, MAX_DELAY);
}

/* Count the workers that have crashed in a row, from what the last one has left. */
static int
count_deaths(const Slot *slot, int64 now)
{
	double		since = (now - slot->started) / (double) USECS_PER_SEC;

	if (!slot->running)
		return 0;
	return since >= GOOD_LIFE + start_delay_after(slot->deaths) ? 1 : slot->deaths + 1;
}

double
crash_start_delay(Oid database)
{
	char		name[MAXPGPATH];
	CrashFile	content;
	int64		now = clock_elapsed();
	int			file;

	file_name(database, name, sizeof(name));
	file = open(name, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return 0;
	read_file(file, &content);
	close(file);
	return Max(0, start_delay_after(count_deaths(&content.slots[CRASH_WORKER], now)) -
			   (now - content.slots[CRASH_WORKER].started) / (double) USECS_PER_SEC);
}

bool
crash_has_file(Oid database)
{
	char		name[MAXPGPATH];

	file_name(database, name, sizeof(name));
	return access(name, F_OK) == 0;
}

void
crash_forget(Oid database)
{
	char		name[MAXPGPATH];

	file_name(database, name, sizeof(name));
	(void) unlink(name);
}

/*
 * The end
 */

/* Check whether the process caused the signal itself.  A signal from outside counts as SIGKILL. */
static bool
is_own_fault(const siginfo_t *info)
{
	return info->si_code > 0 || info->si_pid == getpid();
}

static void
restore_handler(int signo)
{
	for (int i = 0; i < (int) lengthof(faults); i++)
	{
		if (faults[i] == signo)
			(void) sigaction(signo, &former[i], NULL);
	}
}

/* Record the signal, and let it take its effect: the instruction is repeated, or the signal raised again. */
static void
on_fault(int signo, siginfo_t *info, void *context)
{
	if (is_own_fault(info))
	{
		mine.relation = noted;
		mine.end = CRASH_SIGNALLED;
		mine.signal = signo;
		write_mine();
	}
	restore_handler(signo);
	if (info->si_code <= 0)
		(void) raise(signo);
}

/* Handler for SIGQUIT: another process has crashed, or the server is shut down immediately. */
static void
on_quit(SIGNAL_ARGS)
{
	mine.running = false;
	mine.relation = InvalidOid;
	write_mine();
	_exit(2);
}

void
crash_die(SIGNAL_ARGS)
{
	is_terminated = true;
	COMPAT_DIE();
}

static void
on_exit_note(int code, Datum arg)
{
	bool		failed = code != 0 && my_slot == CRASH_WORKER && !is_terminated && PostmasterIsAlive();

	mine.running = false;
	mine.relation = failed ? noted : InvalidOid;
	mine.end = CRASH_FAILED;
	write_mine();
}

static void
install_handlers(void)
{
	static char stack[HANDLER_STACK];
	stack_t		handler_stack = {.ss_sp = stack,.ss_size = sizeof(stack)};
	struct sigaction action = {0};

	pqsignal(SIGQUIT, on_quit);
	(void) sigaltstack(&handler_stack, NULL);
	action.sa_sigaction = on_fault;
	action.sa_flags = SA_SIGINFO | SA_ONSTACK;
	sigfillset(&action.sa_mask);
	for (int i = 0; i < (int) lengthof(faults); i++)
		(void) sigaction(faults[i], &action, &former[i]);
}

/*
 * The file
 */

static void
start_clock(void)
{
	bool		known = before.header.clock_known && before.header.timeline == COMPAT_TIMELINE();

	clock_start(known, before.header.clock_offset);
	before.header.timeline = COMPAT_TIMELINE();
	crash_keep_clock(clock_started() - clock_elapsed());
}

void
crash_open(Oid database, int slot)
{
	char		name[MAXPGPATH];
	bool		first = fd < 0;

	file_name(database, name, sizeof(name));
	if (first)
		fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, pg_file_create_mode);
	if (fd < 0)
	{
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", name),
				 errdetail("If the worker crashes, the next one will not know on which table.")));
		clock_start(false, 0);
		return;
	}
	read_file(fd, &before);
	my_slot = slot;
	mine = before.slots[slot];
	mine.deaths = count_deaths(&mine, clock_elapsed());
	mine.started = clock_elapsed();
	mine.pid = MyProcPid;
	mine.running = true;
	if (slot == CRASH_WORKER)
	{
		write_at(&before, sizeof(before), 0);
		start_clock();
	}
	write_mine();
	if (!first)
		return;
	on_proc_exit(on_exit_note, (Datum) 0);
	if (MyBackendType == B_BG_WORKER)
		install_handlers();
}

void
crash_keep_clock(int64 offset)
{
	before.header.clock_known = true;
	before.header.clock_offset = offset;
	write_at(&before.header, sizeof(before.header), 0);
}

/*
 * Notes
 */

void
crash_note(Oid relation)
{
	noted = relation;
}

#ifdef MIXPEEK_WEAKEN
/* In a build for tests, fail at tables of certain names. */
static void
fail_on_purpose(Oid relation)
{
	volatile int *nowhere = NULL;
	char	   *name = get_rel_name(relation);

	if (name == NULL || strcmp(name, my_slot == CRASH_WORKER ? "doomed" : "forsaken") != 0)
		return;
	if (WEAKENED(WEAKEN_BY_FAULT))
		*nowhere = 0;
	if (WEAKENED(WEAKEN_BY_ERROR))
		elog(ERROR, "doomed");
	while (WEAKENED(WEAKEN_BY_STALL))
	{
		CHECK_FOR_INTERRUPTS();
		pg_usleep(10000);
	}
}
#else
#define fail_on_purpose(relation) ((void) 0)
#endif

void
crash_note_stored(Oid relation)
{
	noted = relation;
	if (fd >= 0)
	{
		mine.relation = relation;
		mine.end = CRASH_KILLED;
		write_mine();
	}
	fail_on_purpose(relation);
}

void
crash_note_clear(void)
{
	noted = InvalidOid;
	if (fd < 0 || mine.relation == InvalidOid)
		return;
	mine.relation = InvalidOid;
	write_mine();
}

Oid
crash_noted(void)
{
	return noted;
}

/* Check whether the process of a slot is still running: an agent may outlive its worker. */
static bool
is_alive(int slot)
{
	return slot != my_slot && before.slots[slot].running &&
		(kill(before.slots[slot].pid, 0) == 0 || errno != ESRCH);
}

CrashNote
crash_recall(int slot)
{
	const Slot *left = &before.slots[slot];
	CrashNote	note = {left->relation, left->end, left->signal};

	if (is_alive(slot))
		note.relation = InvalidOid;
	return note;
}

void
crash_recalled(void)
{
	for (int i = 0; i < CRASH_SLOTS; i++)
	{
		Slot		none = {0};

		if (before.slots[i].relation == InvalidOid || is_alive(i))
			continue;
		before.slots[i].relation = InvalidOid;
		if (i != my_slot)
			write_at(&none, sizeof(none), offsetof(CrashFile, slots) + i * sizeof(Slot));
	}
	if (noted == InvalidOid)
	{
		mine.relation = InvalidOid;
		write_mine();
	}
}
