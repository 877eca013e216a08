/*-------------------------------------------------------------------------
 *
 * contract.h
 *		The API's published contract as tables, and checks of values against
 *		it.  Pure: no catalog, no network.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_CONTRACT_H
#define MIXPEEK_CONTRACT_H

#include "utils/jsonb.h"

/* The body of a kind of request; its fields are in contract.c. */
typedef struct ContractType ContractType;

extern const ContractType contract_create;	/* DocumentCreateRequest of both
											 * contracts */
extern const ContractType contract_update;	/* DocumentUpdateRequest */
extern const ContractType contract_list;	/* ListDocumentsRequest */

/* JSON types, as a set. */
#define CONTRACT_NULL		0x01
#define CONTRACT_STRING		0x02
#define CONTRACT_NUMBER		0x04
#define CONTRACT_INTEGER	0x08	/* a number without fraction */
#define CONTRACT_BOOLEAN	0x10
#define CONTRACT_OBJECT		0x20
#define CONTRACT_ARRAY		0x40
#define CONTRACT_ANY		0x77

/*
 * A function that is called for each JSON string in a field of the contract, before the string is
 * checked.  path is the field's, expected the set of types that the contract allows.  Return the set
 * of types that will replace the string (it stands for a template's column), or 0 to check the
 * string itself.
 */
typedef int (*ContractStringHook) (const char *str, int len, const char *path,
								   int expected, void *arg);

/*
 * Check value against type: types, required fields and values of enums.  Unknown fields are
 * accepted.  hook may be NULL.  Raises ERRCODE_INVALID_PARAMETER_VALUE, with the field's path
 * ("source_details[0].type") at the beginning of the message and, for an enum, its values in the
 * hint.
 */
extern void contract_check(const ContractType *type, Jsonb *value,
						   ContractStringHook hook, void *arg);

/* Check a request's body, which is a JSON object, in the same way. */
extern void contract_check_text(const ContractType *type, const char *body);

/* Return the name of field i of a type, counted from 0; NULL behind the last one. */
extern const char *contract_field_name(const ContractType *type, int i);

#endif							/* MIXPEEK_CONTRACT_H */
