/*
 * schema.h
 *	  The contracts' request bodies as rules.
 */
#ifndef SCHEMA_H
#define SCHEMA_H

#include "validate.h"

extern const Rule *schema_create(void);
extern const Rule *schema_update(void);
extern const Rule *schema_list(void);
extern const Rule schema_bulk_update;
extern const Rule schema_batch_update;
extern const Rule schema_batch_delete;

#endif
