/*-------------------------------------------------------------------------
 *
 * instance.h
 *		Where this server runs, as a text that can be compared.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_INSTANCE_H
#define MIXPEEK_INSTANCE_H

/*
 * Return the current instance: the setting mixpeek.instance, or if that is empty the result of
 * instance_probe().  Valid until the next call.  Raises what instance_probe() raises.
 */
extern const char *instance_current(void);

/*
 * Compare two instances.  Returns the names of the parts that differ, palloc'd, or NULL if both may
 * be the same instance.  Parts that are not known of both are not compared.
 */
extern char *instance_difference(const char *noted, const char *current);

/* Return the current instance with those parts added that only the noted one has, palloc'd. */
extern char *instance_merge(const char *noted, const char *current);

/* Return the part of a instance that is shown to users, palloc'd. */
extern char *instance_name(const char *instance);

#endif							/* MIXPEEK_INSTANCE_H */
