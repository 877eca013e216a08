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
 * This place: the setting mixpeek.instance, or all that is known of it.  Valid until the
 * next call.  Raises if the data directory cannot be looked at.
 */
extern const char *place_current(void);

/*
 * What differs between two places, in words, or NULL if they may be the same one;
 * palloc'd.  What is not known of one of them does not count.
 */
extern char *place_difference(const char *noted, const char *current);

/* The current place, with what only was known of it when it was noted; palloc'd. */
extern char *place_merge(const char *noted, const char *current);

/* What to show of it; palloc'd. */
extern char *place_name(const char *place);

#endif							/* MIXPEEK_PLACE_H */
