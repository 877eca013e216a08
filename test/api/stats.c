/*
 * stats.c
 *	  Counters for /_control/stats.
 */
#include "stats.h"

#include <string.h>

#include "store.h"
#include "timer.h"

Stats		stats;

/* A request is here, to its last byte. */
void
stats_begin(void)
{
	double		now = clock_wall();

	stats.requests++;
	if (++stats.in_flight > stats.max_in_flight)
		stats.max_in_flight = stats.in_flight;
	if (!stats.first_request_at)
		stats.first_request_at = now;
	stats.last_request_at = now;
}

/* The request is answered, or its connection gone. */
void
stats_end(void)
{
	stats.in_flight--;
}

/* All counters to zero but the requests which are under way. */
void
stats_reset(void)
{
	long		in_flight = stats.in_flight;

	memset(&stats, 0, sizeof(stats));
	stats.in_flight = stats.max_in_flight = in_flight;
}

void
stats_render(Buffer *into)
{
	const char *separator = "";

	buffer_printf(into, "{\"requests\":%ld,\"creates\":%ld,\"updates\":%ld,\"patches\":%ld,"
				  "\"deletes\":%ld,\"gets\":%ld,\"lists\":%ld,\"status\":{",
				  stats.requests, stats.creates, stats.updates, stats.patches,
				  stats.deletes, stats.gets, stats.lists);
	for (int i = 0; i < 600; i++)
		if (stats.status[i])
		{
			buffer_printf(into, "%s\"%d\":%ld", separator, i, stats.status[i]);
			separator = ",";
		}
	separator = "";
	buffer_printf(into, "},\"faults\":%ld,\"fault_kinds\":{", stats.faults);
	for (int i = 0; i < FAULT_KINDS; i++)
		if (stats.fault_kinds[i])
		{
			buffer_printf(into, "%s\"%s\":%ld", separator, fault_kind_names[i], stats.fault_kinds[i]);
			separator = ",";
		}
	buffer_printf(into, "},\"overlaps\":%ld,\"documents\":%ld,\"markers\":%ld,\"duplicates\":%ld,"
				  "\"in_flight\":%ld,\"max_in_flight\":%ld,\"connections\":%ld,"
				  "\"first_request_at\":%.6f,\"last_request_at\":%.6f}",
				  stats.overlaps, store_totals.documents, store_totals.markers, store_totals.duplicates,
				  stats.in_flight, stats.max_in_flight, stats.connections,
				  stats.first_request_at, stats.last_request_at);
}
