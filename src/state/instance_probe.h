/*-------------------------------------------------------------------------
 *
 * instance_probe.h
 *		Finding out where this server runs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_INSTANCE_PROBE_H
#define MIXPEEK_INSTANCE_PROBE_H

#include "lib/stringinfo.h"

/*
 * Append the current instance, in the format that instance.c describes.  Raises an error if the data
 * directory's status cannot be read.
 */
extern void instance_probe(StringInfo text);

#endif							/* MIXPEEK_INSTANCE_PROBE_H */
