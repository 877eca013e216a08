/*-------------------------------------------------------------------------
 *
 * contract.h
 *		The API's published contract as tables, and the check of a value
 *		against it.  Pure: no catalog, no network.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_CONTRACT_H
#define MIXPEEK_CONTRACT_H

#include "utils/jsonb.h"

/* A request body of the contract; see contract.c for what is in each. */
typedef struct ContractType ContractType;

extern const ContractType contract_create;	/* DocumentCreateRequest of both
											 * contracts */
extern const ContractType contract_update;	/* DocumentUpdateRequest */
extern const ContractType contract_list;	/* ListDocumentsRequest */

/* JSON types as a set; a field's contract is such a set. */
#define CONTRACT_NULL		0x01
#define CONTRACT_STRING		0x02
#define CONTRACT_NUMBER		0x04
#define CONTRACT_INTEGER	0x08	/* a number without fraction */
#define CONTRACT_BOOLEAN	0x10
#define CONTRACT_OBJECT		0x20
#define CONTRACT_ARRAY		0x40
#define CONTRACT_ANY		0x77

/*
 * Called for each JSON string found where the contract speaks, before it is
 * checked.  Returns the set of types that will stand there (a template's
 * column), or 0 if the string is what it says.  "path" is where it stands;
 * "expected" the set of types that the contract wants there.
 */
typedef int (*ContractStringHook) (const char *str, int len, const char *path,
								   int expected, void *arg);

/*
 * Checks value against type: wrong types, missing required fields, values that
 * no enum has.  Unknown fields pass.  Raises ERRCODE_INVALID_PARAMETER_VALUE
 * with the path ("source_details[0].type") at the beginning of the message
 * and, for an enum, the list of values in HINT.  hook may be NULL.
 */
extern void contract_check(const ContractType *type, Jsonb *value,
						   ContractStringHook hook, void *arg);

/* Return the name of field i of a type, counted from 0; NULL behind the last one. */
extern const char *contract_field_name(const ContractType *type, int i);

#endif							/* MIXPEEK_CONTRACT_H */
