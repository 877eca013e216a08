/*
 * schema.h
 *	  The contracts' request bodies as rules.
 */
#ifndef SCHEMA_H
#define SCHEMA_H

#include "validate.h"

#define MAX_LIMIT 1000			/* documents a page */
#define MAX_OFFSET 10000		/* since 2026-02 */

extern const Rule *schema_create(void);
extern const Rule *schema_update(void);
extern const Rule *schema_list(void);
extern const Rule schema_bulk_update;
extern const Rule schema_batch_update;
extern const Rule schema_batch_delete;
extern const Rule schema_batch_get;
extern const Rule schema_upsert;
extern const Rule schema_namespace_list;
extern const Rule schema_namespace;
extern const Rule schema_taxonomy;

#endif
