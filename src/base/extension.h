/*-------------------------------------------------------------------------
 *
 * extension.h
 *		The extension's own objects, found as its members and not by their names.
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
	EXTENSION_MIRROR_ROW,
	EXTENSION_FDW_VALIDATOR,
	EXTENSION_OBJECTS
} ExtensionObject;

/*
 * Returns the oid of one of the extension's objects: of the member that has the name.  InvalidOid
 * if the extension is not there, or the object is not a member of it.  Kept until something may
 * have changed, so it may be asked for each row; in a transaction.
 */
extern Oid	extension_object(ExtensionObject object);

/* Did the last look find the extension, and not all of its objects?  Looks at no catalog, so it may be asked anywhere. */
extern bool extension_is_damaged(void);

/* Is it one of the extension's tables, by oid? */
extern bool extension_has_table(Oid relation);

/*
 * Raises ERRCODE_INVALID_SCHEMA_NAME unless the name of the extension's schema means the
 * extension's schema: what it means otherwise is somebody else's.
 */
extern void extension_check_schema(void);

/* The namespace that is a member of the extension, InvalidOid if there is none. */
extern Oid	extension_schema(void);

/* Is the object a member of the extension? Looked up each time. */
extern bool extension_has_member(Oid class_id, Oid object_id);

#endif							/* MIXPEEK_EXTENSION_H */
