/*-------------------------------------------------------------------------
 *
 * extension.h
 *		The extension's own objects, found among its members.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_EXTENSION_H
#define MIXPEEK_EXTENSION_H

#define EXTENSION_NAME "mixpeek_docs"
#define EXTENSION_SCHEMA "mixpeek"

/* Tables and functions that the C code uses. */
typedef enum ExtensionObject
{
	EXTENSION_OUTBOX,
	EXTENSION_DOCUMENTS,
	EXTENSION_ORIGIN,
	EXTENSION_FORGOTTEN,
	EXTENSION_KEYS,
	EXTENSION_MIRROR_ROW,
	EXTENSION_FDW_VALIDATOR,
	EXTENSION_OBJECTS
} ExtensionObject;

/*
 * Return the oid of one of the extension's objects; InvalidOid if the extension does not exist, or
 * has no member of that name.  Must be called in a transaction.  The result is cached, so
 * this may be called for each row.
 */
extern Oid	extension_object(ExtensionObject object);

/*
 * Check whether the last look-up found the extension, but not all of its objects.  Reads no catalog, so it
 * may be called anywhere.
 */
extern bool extension_is_damaged(void);

/* Check whether an oid is that of one of these tables. */
extern bool extension_has_table(Oid relation);

/*
 * Raise ERRCODE_UNDEFINED_OBJECT if the extension does not exist, and ERRCODE_INVALID_SCHEMA_NAME if
 * its schema does not have the name EXTENSION_SCHEMA.
 */
extern void extension_check_schema(void);

/* Return the oid of the schema that is a member of the extension; InvalidOid if there is none. */
extern Oid	extension_schema(void);

/* Check whether an object is a member of the extension.  Not cached. */
extern bool extension_has_member(Oid class_id, Oid object_id);

/* Check whether an object is a member of the extension of this name.  Not cached. */
extern bool extension_owns(const char *name, Oid class_id, Oid object_id);

#endif							/* MIXPEEK_EXTENSION_H */
