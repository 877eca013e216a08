/*
 * traits.c
 *	  The table of traits.  The command line, /_control/config, the help text
 *	  and README's table are made from it.
 */
#include "traits.h"

#include <stdlib.h>
#include <string.h>

#include "options.h"

/* A word in capitals stands for a number, which is not negative. */
static const struct TraitRule
{
	const char *name;
	const char *values;
	const char *defaults[CONTRACTS];
	const char *meaning;
}			rules[TRAITS] = {
	[TRAIT_METADATA_AT] = {
		"metadata_at", "metadata|root|internal", {"metadata", "metadata", "metadata"},
		"where answers have a document's metadata: the field `metadata`, the root, `_internal.metadata`"
	},
	[TRAIT_METADATA_NULLS] = {
		"metadata_nulls", "kept|dropped", {"kept", "kept", "kept"},
		"whether keys of metadata that are null are stored"
	},
	[TRAIT_METADATA_TEXTS] = {
		"metadata_texts", "kept|BYTES", {"kept", "kept", "kept"},
		"texts in metadata are stored as they are, or their first bytes"
	},
	[TRAIT_UPSERT_METADATA] = {
		"upsert_metadata", "internal|metadata", {"internal", "internal", "internal"},
		"where an upsert stores the `metadata` of its documents"
	},
	[TRAIT_PAYLOAD_METADATA] = {
		"payload_metadata", "kept|dropped", {"kept", "kept", "kept"},
		"what becomes of `metadata` within an upsert's `payload`; dropped, the answer names it"
	},
	[TRAIT_ENRICHMENTS_AT] = {
		"enrichments_at", "enrichments|root|metadata", {"enrichments", "root", "root"},
		"where enrichments are; in `metadata` they are stored with it, so a write that replaces it removes them"
	},
	[TRAIT_ENRICHED_BY] = {
		"enriched_by", "itself|taxonomy", {"itself", "itself", "itself"},
		"whether a new document is enriched by itself, or when a taxonomy is applied to its collection"
	},
	[TRAIT_TASKS_END] = {
		"tasks_end", "completed|completed_with_errors|failed", {"completed", "completed", "completed"},
		"the status of a task when the enrichments' time has come"
	},
	[TRAIT_FILTER] = {
		"filter", "on|off", {"on", "on", "on"},
		"off: list, bulk and batch answer 400 to any filter"
	},
	[TRAIT_FILTER_AT] = {
		"filter_at", "metadata|root|internal|shown", {"shown", "shown", "shown"},
		"which path of a filter finds metadata: the one of `metadata_at` (shown), or another"
	},
	[TRAIT_FILTER_CASE] = {
		"filter_case", "folded|exact|always_folded", {"folded", "folded", "folded"},
		"whether case counts in filters: not without `case_sensitive`, always, or never"
	},
	[TRAIT_UNINDEXED] = {
		"unindexed", "complete|half|empty", {"complete", "complete", "complete"},
		"what a filter on a field without a payload index finds: all, every other document, nothing"
	},
	[TRAIT_UNINDEXED_WARNINGS] = {
		"unindexed_warnings", "off|on", {"off", "off", "off"},
		"whether an answer that lacks documents for want of an index says so in `warnings`"
	},
	[TRAIT_INDEX_BUILT_BY] = {
		"index_built_by", "patch|ensure", {"patch", "patch", "ensure"},
		"which request builds the payload indexes: PATCH of the namespace, or ensure-indexes after it"
	},
	[TRAIT_SEARCHABLE_AFTER] = {
		"searchable_after", "SECONDS", {"0", "0", "0"},
		"when a new document can be listed and filtered; `searchable_at` is null until a write is this old"
	},
	[TRAIT_READABLE_AFTER] = {
		"readable_after", "SECONDS", {"0", "0", "0"},
		"when a new document is known by its id; until then it is not found by reads, updates and deletes"
	},
	[TRAIT_TTL] = {
		"ttl", "never|SECONDS", {"never", "never", "never"},
		"when documents vanish, counted from their creation"
	},
	[TRAIT_PUT] = {
		"put", "replaces|merges", {"replaces", "replaces", "merges"},
		"what PUT does to metadata: replace it, or set its keys and remove those that are null"
	},
	[TRAIT_PATCH] = {
		"patch", "off|paths|merges", {"off", "paths", "merges"},
		"whether there is PATCH of a document (off: 405), and whether its keys are paths, or it is like PUT that merges"
	},
	[TRAIT_BATCHES] = {
		"batches", "off|on", {"off", "on", "on"},
		"whether there are batch update and batch delete; off: 404 or 405"
	},
	[TRAIT_BATCH_FIELDS] = {
		"batch_fields", "merged|replaced", {"merged", "merged", "replaced"},
		"what batch update does with an object under a key without dots: add its members, or put it in place"
	},
	[TRAIT_BATCH_GET] = {
		"batch_get", "off|on", {"off", "off", "on"},
		"whether there is batch-get; off: 404 or 405"
	},
	[TRAIT_UPSERT] = {
		"upsert", "off|on", {"off", "off", "on"},
		"whether there is upsert; off: 404 or 405"
	},
	[TRAIT_UPSERT_VECTORLESS] = {
		"upsert_vectorless", "taken|refused", {"taken", "taken", "taken"},
		"documents whose `vectors` is empty: stored, or a 422 for the whole request"
	},
	[TRAIT_UPSERT_ENRICHMENTS] = {
		"upsert_enrichments", "dropped|kept", {"dropped", "dropped", "dropped"},
		"enrichments of a document that an upsert replaces; dropped: gone until it is updated in another way"
	},
	[TRAIT_UPSERT_COSTS] = {
		"upsert_costs", "new|each|nothing", {"new", "new", "new"},
		"which documents of an upsert take a credit"
	},
	[TRAIT_IDEMPOTENCY] = {
		"idempotency", "kept|unkept", {"kept", "kept", "kept"},
		"whether an upsert's `idempotency_key` is remembered; unkept: `warnings` say so"
	},
	[TRAIT_UNKNOWN_KEYS] = {
		"unknown_keys", "ignored|refused", {"ignored", "ignored", "refused"},
		"keys that a body does not declare; refused: a 422 `extra_forbidden` names the accepted ones"
	},
	[TRAIT_MISSING_NAMESPACE] = {
		"missing_namespace", "forbidden|empty|invalid", {"forbidden", "forbidden", "empty"},
		"what a namespace that does not exist answers: 403, reads find nothing and writes get 404, 400"
	},
	[TRAIT_MISSING_COLLECTION] = {
		"missing_collection", "not_found|empty|unknown_ids", {"not_found", "not_found", "not_found"},
		"what reads of a collection that does not exist answer: 404, nothing, nothing and `unknown_collection_ids`"
	},
	[TRAIT_COLLECTION_STATE] = {
		"collection_state", "active|disabled|archived", {"active", "active", "active"},
		"the state of every collection: disabled and archived ones refuse new documents (403), archived ones show none"
	},
	[TRAIT_KEY_RIGHTS] = {
		"key_rights", "all|read", {"all", "all", "all"},
		"what the keys may do; read: a 403 to every write"
	},
	[TRAIT_KEY_SCOPE] = {
		"key_scope", "organization|user", {"organization", "organization", "organization"},
		"whose documents the keys see: all, or those that were created while this was `user`"
	},
	[TRAIT_CREDITS] = {
		"credits", "unlimited|NUMBER", {"unlimited", "unlimited", "unlimited"},
		"credits that are left; a create takes one"
	},
	[TRAIT_NO_CREDITS] = {
		"no_credits", "401|402|403|429", {"403", "403", "403"},
		"the status of a write that would need more credits than are left; 403 is QuotaExceededError"
	},
	[TRAIT_RETRY_AFTER] = {
		"retry_after", "seconds|date|details|unsaid", {"seconds", "seconds", "seconds"},
		"how a 429 says when to try again: `Retry-After` in seconds or as a date, `details.retry_after_seconds`, not"
	},
	[TRAIT_RETRYABLE] = {
		"retryable", "unsaid|yes|no", {"unsaid", "unsaid", "unsaid"},
		"`details.retryable` of a 429 and of a write without credits"
	},
	[TRAIT_RATE_BY] = {
		"rate_by", "key|category", {"key", "key", "key"},
		"what `rate` and `burst` count: all requests of a key, or those of a category (metadata, data) by itself"
	},
	[TRAIT_VALIDATION_FORM] = {
		"validation_form", "detail|error", {"detail", "detail", "error"},
		"the form of 422s: `{\"detail\": […]}`, or an ErrorResponse with `details.validation_errors`"
	},
	[TRAIT_REQUEST_ID] = {
		"request_id", "none|x-request-id|x-trace-id|request-id", {"none", "none", "x-request-id"},
		"the header of answers that has the request's id"
	},
};

typedef struct Value
{
	bool		given;			/* by option or request, not by default */
	int			choice;
	bool		is_number;
	double		number;
} Value;

static Value values[TRAITS];

int
trait(Trait trait)
{
	return values[trait].choice;
}

bool
trait_number(Trait trait, double *number)
{
	*number = values[trait].number;
	return values[trait].is_number;
}

const char *
trait_name(Trait trait)
{
	return rules[trait].name;
}

const char *
trait_values(Trait trait)
{
	return rules[trait].values;
}

bool
trait_find(const char *name, Trait *trait)
{
	for (int i = 0; i < TRAITS; i++)
		if (strcmp(rules[i].name, name) == 0)
		{
			*trait = i;
			return true;
		}
	return false;
}

/* Read a number that is not negative, and nothing behind it. */
static bool
read_number(const char *text, double *number)
{
	char	   *end;

	*number = strtod(text, &end);
	return end != text && !*end && *number >= 0;
}

/* Find the value among the trait's words; false if it is none of them. */
static bool
read_value(const char *words, const char *text, Value *value)
{
	int			choice = 0;

	for (const char *word = words;; choice++)
	{
		size_t		length = strcspn(word, "|");

		value->is_number = *word >= 'A' && *word <= 'Z' && read_number(text, &value->number);
		if (value->is_number || (strlen(text) == length && strncmp(word, text, length) == 0))
			break;
		if (!word[length])
			return false;
		word += length + 1;
	}
	value->choice = choice;
	return true;
}

bool
trait_set(Trait trait, const char *text)
{
	Value		value = {.given = true};

	if (!read_value(rules[trait].values, text, &value))
		return false;
	values[trait] = value;
	return true;
}

/* Change the number of a trait that has one. */
void
trait_set_number(Trait trait, double number)
{
	values[trait].number = number;
}

/* Give the traits that were not set the defaults of the contract. */
void
traits_use_contract(void)
{
	for (int i = 0; i < TRAITS; i++)
		if (!values[i].given)
			read_value(rules[i].values, rules[i].defaults[contract_index()], &values[i]);
}

/* Add the trait's value as text. */
static void
add_value(Buffer *into, Trait trait)
{
	const char *word = rules[trait].values;

	if (values[trait].is_number)
	{
		buffer_printf(into, "%.15g", values[trait].number);
		return;
	}
	for (int i = 0; i < values[trait].choice; i++)
		word += strcspn(word, "|") + 1;
	buffer_add(into, word, strcspn(word, "|"));
}

/* Add the traits as members of an object, without its braces. */
void
traits_render(Buffer *into)
{
	for (int i = 0; i < TRAITS; i++)
	{
		const char *quote = values[i].is_number ? "" : "\"";

		buffer_printf(into, "%s\"%s\":%s", i ? "," : "", rules[i].name, quote);
		add_value(into, i);
		buffer_text(into, quote);
	}
}

void
traits_print_help(FILE *to)
{
	for (int i = 0; i < TRAITS; i++)
	{
		char		option[64];

		snprintf(option, sizeof(option), "%s", rules[i].name);
		for (char *c = option; *c; c++)
			if (*c == '_')
				*c = '-';
		fprintf(to, "  --%s %s\n        %s\n", option, rules[i].values, rules[i].meaning);
	}
}

/* Print the table that README.md has. */
void
traits_print_table(FILE *to)
{
	fprintf(to, "| Trait | Values | 2025-09 | 2026-02 | 2026-10 | What it is |\n|---|---|---|---|---|---|\n");
	for (int i = 0; i < TRAITS; i++)
	{
		fprintf(to, "| `%s` | ", rules[i].name);
		for (const char *c = rules[i].values; *c; c++)
			fputs(*c == '|' ? ", " : (char[]) {*c, '\0'}, to);
		for (int contract = 0; contract < CONTRACTS; contract++)
			fprintf(to, " | %s", rules[i].defaults[contract]);
		fprintf(to, " | %s |\n", rules[i].meaning);
	}
}
