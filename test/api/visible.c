/*
 * visible.c
 *	  When a document is known by its id, and when lists and filters have it.
 *
 * Only a new document is delayed: its updates and its end are seen at once.
 */
#include "visible.h"

#include "timer.h"
#include "traits.h"

static bool
is_older(double time, Trait delay)
{
	double		seconds;

	trait_number(delay, &seconds);
	return seconds <= 0 || clock_wall() >= time + seconds;
}

static bool
is_archived(void)
{
	return trait(TRAIT_COLLECTION_STATE) == COLLECTION_ARCHIVED;
}

/* Whether the document can be seen at all, be it old enough. */
static bool
is_shown(const Document *document)
{
	return !is_archived() && (!trait(TRAIT_KEY_SCOPE) || document->by_user);
}

/* Notes of a new document who may see it. */
void
visible_begin(Document *document)
{
	document->by_user = trait(TRAIT_KEY_SCOPE);
}

/* Whether no trait hides a document from lists. */
bool
visible_all(void)
{
	double		seconds;

	trait_number(TRAIT_SEARCHABLE_AFTER, &seconds);
	return seconds <= 0 && !is_archived() && !trait(TRAIT_KEY_SCOPE);
}

bool
visible_by_id(const Document *document)
{
	return is_shown(document) && is_older(document->created_at, TRAIT_READABLE_AFTER);
}

bool
visible_in_lists(const Document *document)
{
	return is_shown(document) && is_older(document->created_at, TRAIT_SEARCHABLE_AFTER);
}

/* Set when the document's latest write became searchable; false if it is not yet. */
bool
visible_since(const Document *document, double *when)
{
	double		seconds;

	trait_number(TRAIT_SEARCHABLE_AFTER, &seconds);
	*when = document->updated_at + seconds;
	return is_older(document->updated_at, TRAIT_SEARCHABLE_AFTER);
}
