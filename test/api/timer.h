/*
 * timer.h
 *	  One-shot timers of the event loop, which is the only caller.
 */
#ifndef TIMER_H
#define TIMER_H

#include <stddef.h>

typedef struct Timer
{
	double		deadline;		/* clock_now() seconds */
	size_t		position;		/* in the heap, from 1; 0: not started */
	void		(*expired) (struct Timer *timer);
} Timer;

extern double clock_now(void);	/* monotonic, seconds */
extern double clock_wall(void); /* unix time, seconds */
extern void timer_start(Timer *timer, double seconds);
extern void timer_stop(Timer *timer);
extern double timer_run(void);

#endif
