/*-------------------------------------------------------------------------
 *
 * place.h
 *		Where this server runs, as a text that can be compared.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_PLACE_H
#define MIXPEEK_PLACE_H

/*
 * Return the current place: the setting mixpeek.instance, or if that is empty the result of
 * place_probe().  Valid until the next call.  Raises what place_probe() raises.
 */
extern const char *place_current(void);

/*
 * Compare two places.  Returns the names of the parts that differ, palloc'd, or NULL if both may
 * be the same place.  Parts that are not known of both are not compared.
 */
extern char *place_difference(const char *noted, const char *current);

/* Return the current place with those parts added that only the noted one has, palloc'd. */
extern char *place_merge(const char *noted, const char *current);

/* Return the part of a place that is shown to users, palloc'd. */
extern char *place_name(const char *place);

#endif							/* MIXPEEK_PLACE_H */
