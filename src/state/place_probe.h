/*-------------------------------------------------------------------------
 *
 * place_probe.h
 *		Finding out where this server runs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_PLACE_PROBE_H
#define MIXPEEK_PLACE_PROBE_H

#include "lib/stringinfo.h"

/*
 * Append the current place, in the format that place.c describes.  Raises an error if the data
 * directory's status cannot be read.
 */
extern void place_probe(StringInfo text);

#endif							/* MIXPEEK_PLACE_PROBE_H */
