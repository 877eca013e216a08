/*
 * stats.h
 *	  Counters for /_control/stats.
 */
#ifndef STATS_H
#define STATS_H

#include "buffer.h"
#include "fault.h"

typedef struct Stats
{
	long		requests;
	long		creates;		/* documents, however they were answered */
	long		updates;
	long		patches;
	long		deletes;
	long		gets;
	long		lists;
	long		faults;
	long		fault_kinds[FAULT_KINDS];
	long		overlaps;
	long		in_flight;
	long		max_in_flight;
	long		connections;
	long		status[600];
	double		first_request_at;
	double		last_request_at;
} Stats;

extern Stats stats;

extern void stats_begin(void);
extern void stats_end(void);
extern void stats_reset(void);
extern void stats_render(Buffer *into);

#endif
