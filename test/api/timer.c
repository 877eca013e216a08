/*
 * timer.c
 *	  One-shot timers in a binary heap.
 */
#include "timer.h"

#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

static Timer **heap;			/* heap[1] is the earliest */
static size_t heap_count;
static size_t heap_capacity;

static double
read_clock(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

double
clock_now(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

double
clock_wall(void)
{
	return read_clock(CLOCK_REALTIME);
}

static void
put(Timer *timer, size_t position)
{
	heap[position] = timer;
	timer->position = position;
}

/* Puts the timer where it belongs, from a position that is free. */
static void
sift(Timer *timer, size_t position)
{
	size_t		child;

	while (position > 1 && heap[position / 2]->deadline > timer->deadline)
	{
		put(heap[position / 2], position);
		position /= 2;
	}
	while ((child = position * 2) <= heap_count)
	{
		if (child < heap_count && heap[child + 1]->deadline < heap[child]->deadline)
			child++;
		if (heap[child]->deadline >= timer->deadline)
			break;
		put(heap[child], position);
		position = child;
	}
	put(timer, position);
}

void
timer_start(Timer *timer, double seconds)
{
	timer_stop(timer);
	timer->deadline = clock_now() + seconds;
	if (heap_count + 2 > heap_capacity)
	{
		heap_capacity = heap_capacity ? heap_capacity * 2 : 64;
		heap = realloc(heap, heap_capacity * sizeof(Timer *));
		if (!heap)
			abort();
	}
	sift(timer, ++heap_count);
}

void
timer_stop(Timer *timer)
{
	size_t		position = timer->position;
	Timer	   *last;

	if (!position)
		return;
	timer->position = 0;
	last = heap[heap_count--];
	if (last != timer)
		sift(last, position);
}

/*
 * Calls what has expired.  Returns the seconds to the next one, -1 if there is
 * none, and 0 after a call, since that may have left something to do.
 */
double
timer_run(void)
{
	double		now;
	bool		called = false;

	if (!heap_count)
		return -1;
	now = clock_now();
	while (heap_count && heap[1]->deadline <= now)
	{
		Timer	   *timer = heap[1];

		timer_stop(timer);
		timer->expired(timer);
		called = true;
	}
	if (called)
		return 0;
	return heap_count ? heap[1]->deadline - now : -1;
}
