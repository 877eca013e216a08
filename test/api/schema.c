/*
 * schema.c
 *	  The contracts' request bodies as rules.  Filters are unions which no table
 *	  tells apart; filter.c checks them.
 */
#define _GNU_SOURCE
#include "schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "traits.h"

static const char *const source_types[] = {"bucket", "collection", "taxonomy", "cluster", NULL};
static const char *const parent_types[] = {"bucket", "collection", NULL};
static const char *const directions[] = {"asc", "desc", NULL};
static const char *const blob_roles[] = {"source", "processed", "thumbnail", "artifact", "aux", NULL};
static const char *const media_types[] = {"video", "image", "audio", "text", "pdf", "other", NULL};
static const char *const index_types[] = {
	"keyword", "integer", "float", "bool", "geo", "datetime", "text", "uuid", NULL
};
static const char *const field_types[] = {
	"string", "number", "integer", "float", "boolean", "object", "array", "date", "datetime", "json", "file",
	"text", "image", "audio", "video", "pdf", "document", "spreadsheet", "presentation", "dense_vector",
	"sparse_vector", "int8_vector", NULL
};

static void check_vectors(Checker *checker, const JsonNode *vectors);
static void check_named_vectors(Checker *checker, const JsonNode *vectors);
static void check_limit(Checker *checker, const JsonNode *limit);
static void check_offset(Checker *checker, const JsonNode *offset);
static void check_partition(Checker *checker, const JsonNode *partition);
static void check_id(Checker *checker, const JsonNode *id);
static void check_upsert_document(Checker *checker, const JsonNode *document);
static void check_timestamp(Checker *checker, const JsonNode *timestamp);
static void check_uri(Checker *checker, const JsonNode *uri);

static const Rule string_item = {.types = T_STRING};
static const Rule object_item = {.types = T_OBJECT};
static const Rule number_item = {.types = T_NUMBER};

static const Rule blob_details[] = {
	{.name = "filename",.types = T_STRING | T_NULL},
	{.name = "size_bytes",.types = T_INTEGER | T_NULL},
	{.name = "mime_type",.types = T_STRING | T_NULL},
	{.name = "hash",.types = T_STRING | T_NULL},
	{.name = "s3_object_key",.types = T_STRING | T_NULL},
	{0}
};

static const Rule blob[] = {
	{.name = "blob_id",.types = T_STRING},
	{.name = "property",.types = T_STRING,.required = true},
	{.name = "key_prefix",.types = T_STRING | T_NULL},
	{.name = "type",.types = T_STRING,.required = true,.choices = field_types},
	{.name = "data",.types = T_ANY,.required = true},
	{.name = "metadata",.types = T_OBJECT | T_NULL},
	{.name = "details",.types = T_OBJECT,.members = blob_details},
	{0}
};
static const Rule blob_item = {.types = T_OBJECT,.members = blob};

static const Rule source_details[] = {
	{.name = "type",.types = T_STRING,.required = true,.choices = source_types},
	{.name = "source_id",.types = T_STRING,.required = true},
	{.name = "object_id",.types = T_STRING,.required = true},
	{.name = "feature_extractor_task_id",.types = T_STRING,.required = true},
	{.name = "object_task_id",.types = T_STRING,.required = true},
	{.name = "source_blobs",.types = T_ARRAY,.items = &blob_item},
	{.name = "feature_extractor_id",.types = T_STRING,.required = true},
	{.name = "batch_id",.types = T_STRING | T_NULL},
	{.name = "batch_task_id",.types = T_STRING | T_NULL},
	{0}
};
static const Rule source_details_item = {.types = T_OBJECT,.members = source_details};

static const Rule feature[] = {
	{.name = "feature_extractor_id",.types = T_STRING,.required = true},
	{.name = "payload",.types = T_OBJECT},
	{.name = "vectors",.types = T_OBJECT | T_NULL,.check = check_vectors},
	{0}
};
static const Rule feature_item = {.types = T_OBJECT,.members = feature};

static const Rule create_2025_09[] = {
	{.name = "collection_id",.types = T_STRING,.required = true},
	{.name = "source_details",.types = T_ARRAY,.required = true,.items = &source_details_item},
	{.name = "metadata",.types = T_OBJECT | T_NULL},
	{.name = "features",.types = T_ARRAY,.items = &feature_item},
	{0}
};

/* An update may set any field, but no field to what an answer may not hold. */
static const Rule update_2025_09[] = {
	{.name = "metadata",.types = T_OBJECT | T_NULL},
	{.name = "source_details",.types = T_ARRAY | T_NULL,.items = &source_details_item},
	{.name = "source_blobs",.types = T_ARRAY,.items = &object_item},
	{.name = "internal_metadata",.types = T_OBJECT},
	{.name = "collection_id",.types = T_STRING},
	{.name = "document_id",.types = T_STRING},
	{0}
};

static const Rule lineage_step[] = {
	{.name = "collection_id",.types = T_STRING,.required = true},
	{.name = "feature_extractor_id",.types = T_STRING,.required = true},
	{.name = "document_id",.types = T_STRING | T_NULL},
	{.name = "timestamp",.types = T_STRING,.check = check_timestamp},
	{0}
};
static const Rule lineage_item = {.types = T_OBJECT,.members = lineage_step};

static const Rule document_blob[] = {
	{.name = "field",.types = T_STRING,.required = true,.min_length = 1},
	{.name = "role",.types = T_STRING,.choices = blob_roles},
	{.name = "type",.types = T_STRING,.choices = media_types},
	{.name = "url",.types = T_STRING,.required = true,.min_length = 1},
	{.name = "filename",.types = T_STRING | T_NULL},
	{.name = "size_bytes",.types = T_INTEGER | T_NULL,.unsigned_integer = true},
	{.name = "content_type",.types = T_STRING | T_NULL},
	{.name = "checksum",.types = T_STRING | T_NULL},
	{.name = "created_at",.types = T_STRING | T_NULL,.check = check_timestamp},
	{.name = "source_blob_id",.types = T_STRING | T_NULL},
	{.name = "presigned_url",.types = T_STRING | T_NULL,.min_length = 1,.check = check_uri},
	{0}
};
static const Rule document_blob_item = {.types = T_OBJECT,.members = document_blob};

static const Rule create_2026_02[] = {
	{.name = "collection_id",.types = T_STRING,.required = true},
	{.name = "root_object_id",.types = T_STRING | T_NULL},
	{.name = "root_bucket_id",.types = T_STRING | T_NULL},
	{.name = "source_type",.types = T_STRING | T_NULL,.choices = parent_types},
	{.name = "source_collection_id",.types = T_STRING | T_NULL},
	{.name = "source_document_id",.types = T_STRING | T_NULL},
	{.name = "source_object_id",.types = T_STRING | T_NULL},
	{.name = "lineage_path",.types = T_STRING | T_NULL},
	{.name = "lineage_chain",.types = T_ARRAY,.items = &lineage_item},
	{.name = "document_schema_version",.types = T_STRING | T_NULL},
	{.name = "metadata",.types = T_OBJECT},
	{.name = "features",.types = T_ARRAY,.items = &feature_item},
	{.name = "document_blobs",.types = T_ARRAY,.items = &document_blob_item},
	{0}
};

static const Rule update_2026_02[] = {
	{.name = "collection_id",.types = T_STRING},
	{.name = "document_id",.types = T_STRING},
	{.name = "source_type",.types = T_STRING | T_NULL,.choices = parent_types},
	{.name = "lineage_chain",.types = T_ARRAY,.items = &lineage_item},
	{.name = "metadata",.types = T_OBJECT},
	{.name = "document_blobs",.types = T_ARRAY,.items = &document_blob_item},
	{0}
};

/* Fields that are not declared are the document's own. */
static const Rule create_2026_10[] = {
	{.name = "collection_id",.types = T_STRING | T_NULL},
	{.name = "root_object_id",.types = T_STRING | T_NULL},
	{.name = "root_bucket_id",.types = T_STRING | T_NULL},
	{.name = "source_type",.types = T_STRING | T_NULL},
	{.name = "source_collection_id",.types = T_STRING | T_NULL},
	{.name = "source_document_id",.types = T_STRING | T_NULL},
	{.name = "source_object_id",.types = T_STRING | T_NULL},
	{.name = "lineage_path",.types = T_STRING | T_NULL},
	{.name = "lineage_chain",.types = T_ARRAY | T_NULL,.items = &lineage_item},
	{.name = "content_hash",.types = T_STRING | T_NULL},
	{.name = "document_schema_version",.types = T_STRING | T_NULL},
	{.name = "metadata",.types = T_OBJECT | T_NULL},
	{.name = "features",.types = T_ARRAY | T_NULL,.items = &feature_item},
	{.name = "vectors",.types = T_OBJECT | T_NULL,.check = check_named_vectors},
	{.name = "document_blobs",.types = T_ARRAY,.items = &document_blob_item},
	{0}
};

static const Rule sort_option[] = {
	{.name = "field",.types = T_STRING,.required = true},
	{.name = "direction",.types = T_STRING,.choices = directions},
	{0}
};

static const Rule list_2025_09[] = {
	{.name = "filters",.types = T_OBJECT | T_NULL},
	{.name = "sort",.types = T_OBJECT | T_NULL,.members = sort_option},
	{.name = "search",.types = T_STRING | T_NULL},
	{.name = "return_url",.types = T_BOOLEAN | T_NULL},
	{.name = "return_vectors",.types = T_BOOLEAN | T_NULL},
	{0}
};

static const Rule list_2026_02[] = {
	{.name = "filters",.types = T_OBJECT | T_NULL},
	{.name = "sort",.types = T_OBJECT | T_NULL,.members = sort_option},
	{.name = "search",.types = T_STRING | T_NULL},
	{.name = "cursor",.types = T_STRING | T_NULL},
	{.name = "return_url",.types = T_BOOLEAN | T_NULL},
	{.name = "return_vectors",.types = T_BOOLEAN | T_NULL},
	{.name = "group_by",.types = T_STRING | T_NULL},
	{.name = "select",.types = T_ARRAY | T_NULL,.items = &string_item},
	{0}
};

static const Rule partition[] = {
	{.name = "index",.types = T_INTEGER,.required = true,.unsigned_integer = true},
	{.name = "count",.types = T_INTEGER,.required = true,.unsigned_integer = true},
	{0}
};

#define LIST_2026_10 \
	{.name = "filters",.types = T_OBJECT | T_NULL}, \
	{.name = "sort",.types = T_OBJECT | T_NULL,.members = sort_option}, \
	{.name = "search",.types = T_STRING | T_NULL}, \
	{.name = "cursor",.types = T_STRING | T_NULL}, \
	{.name = "partition",.types = T_OBJECT | T_NULL,.members = partition,.closed = true, \
	.check = check_partition}, \
	{.name = "include_total",.types = T_BOOLEAN | T_NULL}, \
	{.name = "return_presigned_urls",.types = T_BOOLEAN | T_NULL}, \
	{.name = "return_vectors",.types = T_BOOLEAN | T_NULL}, \
	{.name = "return_vector_names",.types = T_BOOLEAN | T_ARRAY | T_NULL}, \
	{.name = "group_by",.types = T_STRING | T_NULL}, \
	{.name = "select",.types = T_ARRAY | T_NULL,.items = &string_item}, \
	{.name = "expand",.types = T_ARRAY | T_NULL,.items = &string_item}, \
	{.name = "limit",.types = T_INTEGER | T_NULL,.check = check_limit}, \
	{.name = "page_size",.types = T_INTEGER | T_NULL,.check = check_limit}, \
	{.name = "offset",.types = T_INTEGER | T_NULL,.check = check_offset}

static const Rule list_2026_10[] = {LIST_2026_10, {0}};

static const Rule namespace_list[] = {
	LIST_2026_10,
	{.name = "collection_ids",.types = T_ARRAY | T_NULL,.items = &string_item},
	{.name = "collection_id",.types = T_STRING | T_NULL},
	{.name = "collections",.types = T_ARRAY | T_NULL,.items = &string_item},
	{0}
};

static const Rule batch_entry[] = {
	{.name = "document_id",.types = T_STRING,.required = true},
	{.name = "update_data",.types = T_OBJECT,.required = true,.members = update_2026_02},
	{0}
};
static const Rule batch_entry_item = {.types = T_OBJECT,.members = batch_entry,.closed = true};

static const Rule bulk_update[] = {
	{.name = "filters",.types = T_OBJECT | T_NULL},
	{.name = "update_data",.types = T_OBJECT,.required = true,.members = update_2026_02},
	{0}
};

static const Rule batch_update[] = {
	{.name = "updates",.types = T_ARRAY | T_NULL,.items = &batch_entry_item,.min_length = 1,.max_length = 1000},
	{.name = "filters",.types = T_OBJECT | T_NULL},
	{.name = "update_data",.types = T_OBJECT | T_NULL,.members = update_2026_02},
	{0}
};

static const Rule batch_delete[] = {
	{.name = "document_ids",.types = T_ARRAY | T_NULL,.items = &string_item,.min_length = 1,.max_length = 1000},
	{.name = "filters",.types = T_OBJECT | T_NULL},
	{.name = "reason",.types = T_STRING | T_NULL,.max_length = 500},
	{0}
};

static const Rule batch_get[] = {
	{.name = "document_ids",.types = T_ARRAY,.required = true,.items = &string_item,.min_length = 1,.max_length = 1000},
	{.name = "return_presigned_urls",.types = T_BOOLEAN | T_NULL},
	{0}
};

static const Rule acl[] = {
	{.name = "read",.types = T_ARRAY | T_NULL,.items = &string_item,.max_length = 256},
	{.name = "write",.types = T_ARRAY | T_NULL,.items = &string_item,.max_length = 256},
	{.name = "public",.types = T_BOOLEAN | T_NULL},
	{0}
};

static const Rule upsert_document[] = {
	{.name = "document_id",.types = T_STRING,.required = true,.min_length = 1,.check = check_id},
	{.name = "vectors",.types = T_OBJECT,.required = true,.check = check_named_vectors},
	{.name = "payload",.types = T_OBJECT | T_NULL},
	{.name = "metadata",.types = T_OBJECT | T_NULL},
	{.name = "acl",.types = T_OBJECT | T_NULL,.members = acl,.closed = true},
	{.name = "source_type",.types = T_STRING | T_NULL},
	{.name = "root_object_id",.types = T_STRING | T_NULL},
	{.name = "root_bucket_id",.types = T_STRING | T_NULL},
	{.name = "source_object_id",.types = T_STRING | T_NULL},
	{.name = "source_document_id",.types = T_STRING | T_NULL},
	{.name = "source_collection_id",.types = T_STRING | T_NULL},
	{.name = "lineage_path",.types = T_STRING | T_NULL},
	{.name = "lineage_chain",.types = T_ARRAY | T_NULL,.items = &object_item},
	{.name = "content_hash",.types = T_STRING | T_NULL},
	{0}
};
static const Rule upsert_item = {.types = T_OBJECT,.members = upsert_document,.closed = true,
.check = check_upsert_document};

static const Rule upsert_options[] = {
	{.name = "write_token",.types = T_BOOLEAN | T_NULL},
	{.name = "idempotency_key",.types = T_STRING | T_NULL},
	{0}
};

static const Rule upsert[] = {
	{.name = "collection_id",.types = T_STRING | T_NULL},
	{.name = "documents",.types = T_ARRAY,.required = true,.items = &upsert_item,.max_length = 1000},
	{.name = "options",.types = T_OBJECT | T_NULL,.members = upsert_options,.closed = true},
	{0}
};

static const Rule apply_taxonomy[] = {
	{.name = "taxonomy_id",.types = T_STRING,.required = true},
	{.name = "scroll_filters",.types = T_OBJECT | T_NULL},
	{.name = "batch_size",.types = T_INTEGER | T_NULL},
	{.name = "parallelism",.types = T_INTEGER | T_NULL},
	{.name = "budget_limits",.types = T_OBJECT | T_NULL},
	{0}
};

static const Rule payload_index[] = {
	{.name = "field_name",.types = T_STRING,.required = true,.min_length = 1,.max_length = 255},
	{.name = "type",.types = T_STRING,.required = true,.choices = index_types},
	{.name = "field_schema",.types = T_OBJECT | T_NULL},
	{.name = "is_protected",.types = T_BOOLEAN | T_NULL},
	{0}
};
static const Rule payload_index_item = {.types = T_OBJECT,.members = payload_index};

static const Rule patch_namespace[] = {
	{.name = "payload_indexes",.types = T_ARRAY | T_NULL,.items = &payload_index_item},
	{.name = "auto_create_indexes",.types = T_BOOLEAN | T_NULL},
	{0}
};

const Rule	schema_bulk_update = {.types = T_OBJECT,.members = bulk_update};
const Rule	schema_batch_update = {.types = T_OBJECT,.members = batch_update,.closed = true};
const Rule	schema_batch_delete = {.types = T_OBJECT,.members = batch_delete,.closed = true};
const Rule	schema_batch_get = {.types = T_OBJECT,.members = batch_get,.closed = true};
const Rule	schema_upsert = {.types = T_OBJECT,.members = upsert,.closed = true};
const Rule	schema_namespace_list = {.types = T_OBJECT,.members = namespace_list,.closed = true};
const Rule	schema_taxonomy = {.types = T_OBJECT,.members = apply_taxonomy,.closed = true};
const Rule	schema_namespace = {.types = T_OBJECT,.members = patch_namespace};

const Rule *
schema_create(void)
{
	static const Rule rules[CONTRACTS] = {
		{.types = T_OBJECT,.members = create_2025_09},
		{.types = T_OBJECT,.members = create_2026_02},
		{.types = T_OBJECT,.members = create_2026_10}
	};

	return &rules[contract_index()];
}

const Rule *
schema_update(void)
{
	static const Rule rules[CONTRACTS] = {
		{.types = T_OBJECT,.members = update_2025_09},
		{.types = T_OBJECT,.members = update_2026_02},
		{.types = T_OBJECT,.members = update_2026_02}
	};

	return &rules[contract_index()];
}

const Rule *
schema_list(void)
{
	static const Rule rules[CONTRACTS] = {
		{.types = T_OBJECT,.members = list_2025_09,.closed = true},
		{.types = T_OBJECT,.members = list_2026_02,.closed = true},
		{.types = T_OBJECT,.members = list_2026_10,.closed = true}
	};

	return &rules[contract_index()];
}

/* {"indices": [...], "values": [...]}, of one length. */
static void
check_sparse(Checker *checker, const JsonNode *indices, const JsonNode *values)
{
	static const Rule numbers = {.types = T_ARRAY,.items = &number_item};

	checker_enter(checker, "indices");
	checker_value(checker, &numbers, indices);
	checker_leave(checker);
	checker_enter(checker, "values");
	checker_value(checker, &numbers, values);
	if (indices->count != values->count)
		checker_error(checker, "value_error", "Value error, indices and values must have the same length");
	checker_leave(checker);
}

/* By name: a list of numbers, or a list of lists of numbers. */
static void
check_vectors(Checker *checker, const JsonNode *vectors)
{
	static const Rule dense = {.types = T_ARRAY,.items = &number_item};
	static const Rule multi = {.types = T_ARRAY,.items = &dense};
	const JsonNode *indices = json_get(vectors, "indices");
	const JsonNode *values = json_get(vectors, "values");

	if (indices && values)
	{
		check_sparse(checker, indices, values);
		return;
	}
	JSON_MEMBERS(vectors, key)
	{
		bool		nested = key[1].count && key[1].kind == JSON_ARRAY && key[2].kind == JSON_ARRAY;

		checker_enter_key(checker, key);
		checker_value(checker, nested ? &multi : &dense, &key[1]);
		checker_leave(checker);
	}
}

/* Whether the vector's index is one of the collection's, and of its dimensions. */
static void
check_vector_index(Checker *checker, const JsonNode *name, const JsonNode *vector)
{
	char		available[256] = "";
	size_t		used = 0;

	for (int i = 0; i < options.vector_indexes.count; i++)
	{
		const char *index = options.vector_indexes.items[i];
		size_t		length = strcspn(index, ":");
		long		dimensions = atol(index + length + 1);

		used += snprintf(available + used, sizeof(available) - used, "%s%.*s (%ld)", i ? ", " : "",
						 (int) length, index, dimensions);
		if (used >= sizeof(available))
			used = sizeof(available) - 1;
		if (name->length != length + 2 || strncmp(name->text + 1, index, length) != 0)
			continue;
		if (vector->kind == JSON_ARRAY && vector->count != dimensions &&
			!(vector->count && vector[1].kind == JSON_ARRAY))
			checker_error(checker, "value_error", "Vector has %u dimensions, its index has %ld",
						  vector->count, dimensions);
		return;
	}
	if (options.vector_indexes.count)
		checker_error(checker, "value_error", "Unknown vector index; available: %s", available);
}

/* By index name: a list of numbers, a list of lists of numbers, or a sparse vector. */
static void
check_named_vectors(Checker *checker, const JsonNode *vectors)
{
	static const Rule sparse[] = {
		{.name = "indices",.types = T_ARRAY,.required = true},
		{.name = "values",.types = T_ARRAY,.required = true},
		{0}
	};
	static const Rule dense = {.types = T_ARRAY | T_OBJECT,.items = &number_item,.members = sparse};
	static const Rule multi = {.types = T_ARRAY,.items = &dense};

	JSON_MEMBERS(vectors, key)
	{
		const JsonNode *vector = &key[1];
		bool		nested = vector->count && vector->kind == JSON_ARRAY && vector[1].kind == JSON_ARRAY;

		checker_enter_key(checker, key);
		checker_value(checker, nested ? &multi : &dense, vector);
		if (json_get(vector, "indices") && json_get(vector, "values"))
			check_sparse(checker, json_get(vector, "indices"), json_get(vector, "values"));
		check_vector_index(checker, key, vector);
		checker_leave(checker);
	}
}

static void
check_range(Checker *checker, const JsonNode *number, long min, long max)
{
	if (json_number(number) < min)
		checker_error(checker, "greater_than_equal", "Input should be greater than or equal to %ld", min);
	else if (json_number(number) > max)
		checker_error(checker, "less_than_equal", "Input should be less than or equal to %ld", max);
}

static void
check_limit(Checker *checker, const JsonNode *limit)
{
	check_range(checker, limit, 1, MAX_LIMIT);
}

static void
check_offset(Checker *checker, const JsonNode *offset)
{
	check_range(checker, offset, 0, MAX_OFFSET);
}

static void
check_partition(Checker *checker, const JsonNode *partition)
{
	const JsonNode *index = json_get(partition, "index");
	const JsonNode *count = json_get(partition, "count");

	if (!index || !count || index->kind != JSON_NUMBER || count->kind != JSON_NUMBER)
		return;
	check_range(checker, count, 1, 256);
	check_range(checker, index, 0, (long) json_number(count) - 1);
}

/* An id that can stand in a path. */
static void
check_id(Checker *checker, const JsonNode *id)
{
	Buffer		text = {0};

	json_decode(id, &text);
	if (memchr(text.data, '\0', text.length))
		checker_error(checker, "value_error", "An id cannot have a NUL character");
	buffer_free(&text);
}

static void
check_upsert_document(Checker *checker, const JsonNode *document)
{
	const JsonNode *vectors = json_get(document, "vectors");

	if (trait(TRAIT_UPSERT_VECTORLESS) && vectors && vectors->count == 0)
		checker_error(checker, "value_error", "A document needs a vector");
}

/* The beginning of an ISO 8601 time, "2025-10-18T10:30". */
static void
check_timestamp(Checker *checker, const JsonNode *timestamp)
{
	static const char pattern[] = "0000-00-00T00:00";

	for (size_t i = 0; pattern[i]; i++)
	{
		char		c = i + 2 < timestamp->length ? timestamp->text[i + 1] : '\0';

		if (pattern[i] == '0' ? c < '0' || c > '9' : c != pattern[i])
		{
			checker_error(checker, "datetime_from_date_parsing", "Input should be a valid datetime");
			return;
		}
	}
}

static void
check_uri(Checker *checker, const JsonNode *uri)
{
	const char *scheme_end = memmem(uri->text, uri->length, "://", 3);

	if (!scheme_end || scheme_end == uri->text + 1)
		checker_error(checker, "url_parsing", "Input should be a valid URL, relative URL without a base");
}
