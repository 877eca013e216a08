/*
 * traits.h
 *	  What the real service may do one way or another: a switch each.  The table
 *	  in traits.c has their names, values and defaults, and what they do.
 */
#ifndef TRAITS_H
#define TRAITS_H

#include <stdbool.h>
#include <stdio.h>

#include "buffer.h"

typedef enum Trait
{
	TRAIT_METADATA_AT, TRAIT_METADATA_NULLS, TRAIT_METADATA_TEXTS, TRAIT_UPSERT_METADATA, TRAIT_PAYLOAD_METADATA,
	TRAIT_ENRICHMENTS_AT, TRAIT_ENRICHED_BY, TRAIT_TASKS_END,
	TRAIT_FILTER, TRAIT_FILTER_AT, TRAIT_FILTER_CASE, TRAIT_UNINDEXED, TRAIT_UNINDEXED_WARNINGS,
	TRAIT_INDEX_BUILT_BY, TRAIT_SEARCHABLE_AFTER, TRAIT_READABLE_AFTER, TRAIT_TTL,
	TRAIT_PUT, TRAIT_PATCH, TRAIT_BATCHES, TRAIT_BATCH_FIELDS, TRAIT_BATCH_GET,
	TRAIT_UPSERT, TRAIT_UPSERT_VECTORLESS, TRAIT_UPSERT_ENRICHMENTS, TRAIT_UPSERT_COSTS, TRAIT_IDEMPOTENCY,
	TRAIT_UNKNOWN_KEYS, TRAIT_MISSING_NAMESPACE, TRAIT_MISSING_COLLECTION,
	TRAIT_COLLECTION_STATE, TRAIT_KEY_RIGHTS, TRAIT_KEY_SCOPE,
	TRAIT_CREDITS, TRAIT_NO_CREDITS, TRAIT_RETRY_AFTER, TRAIT_RETRYABLE, TRAIT_RATE_BY,
	TRAIT_VALIDATION_FORM, TRAIT_REQUEST_ID,
	TRAITS
} Trait;

/* Values, in the order of the table's words. */
enum
{
	AT_METADATA, AT_ROOT, AT_INTERNAL, AT_SHOWN
};
enum
{
	ENRICHMENTS_OBJECT, ENRICHMENTS_ROOT, ENRICHMENTS_METADATA
};
enum
{
	CASE_FOLDED, CASE_EXACT, CASE_ALWAYS_FOLDED
};
enum
{
	UNINDEXED_COMPLETE, UNINDEXED_HALF, UNINDEXED_EMPTY
};
enum
{
	COSTS_NEW, COSTS_EACH, COSTS_NOTHING
};
enum
{
	MISSING_NAMESPACE_FORBIDDEN, MISSING_NAMESPACE_EMPTY, MISSING_NAMESPACE_INVALID
};
enum
{
	MISSING_COLLECTION_NOT_FOUND, MISSING_COLLECTION_EMPTY, MISSING_COLLECTION_UNKNOWN_IDS
};
enum
{
	COLLECTION_ACTIVE, COLLECTION_DISABLED, COLLECTION_ARCHIVED
};
enum
{
	RETRY_SECONDS, RETRY_DATE, RETRY_DETAILS, RETRY_UNSAID
};
enum
{
	RETRYABLE_UNSAID, RETRYABLE_YES, RETRYABLE_NO
};

/* The place of the trait's value among its words; for switches, whether it is on. */
extern int	trait(Trait trait);

/* The trait's number; false where a word stands in its place. */
extern bool trait_number(Trait trait, double *number);

extern const char *trait_name(Trait trait);
extern bool trait_find(const char *name, Trait *trait);
extern bool trait_set(Trait trait, const char *value);
extern void trait_set_number(Trait trait, double number);
extern const char *trait_values(Trait trait);

extern void traits_use_contract(void);
extern void traits_render(Buffer *into);
extern void traits_print_help(FILE *to);
extern void traits_print_table(FILE *to);

#endif
