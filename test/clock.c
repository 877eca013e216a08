/*
 * A wall clock that a test can set: preloaded (LD_PRELOAD), it adds the seconds that the file
 * MIXPEEK_TEST_CLOCK holds, as a binary double, to what the machine's clock says.  The
 * file is mapped, so it counts from the moment on in which it is written.  Clocks that only
 * go on are left alone.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile double *
set_by(void)
{
	static const volatile double *offset = NULL;
	static const double none = 0;
	const char *name = getenv("MIXPEEK_TEST_CLOCK");
	int			fd;

	if (offset)
		return offset;
	fd = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return &none;
	offset = mmap(NULL, sizeof(double), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (offset == MAP_FAILED)
		offset = &none;
	return offset;
}

int
clock_gettime(clockid_t clock, struct timespec *t)
{
	int			rc = syscall(SYS_clock_gettime, clock, t);

	if (rc == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		t->tv_sec += (time_t) *set_by();
	return rc;
}

int
gettimeofday(struct timeval *restrict t, void *restrict zone)
{
	struct timespec now;

	(void) zone;
	clock_gettime(CLOCK_REALTIME, &now);
	t->tv_sec = now.tv_sec;
	t->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *result)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (result)
		*result = now.tv_sec;
	return now.tv_sec;
}
