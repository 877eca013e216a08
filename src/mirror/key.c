/*-------------------------------------------------------------------------
 *
 * key.c
 *		A row's key as text: the value of one column, the row text of several.
 *
 * The writer's session computes the text and the worker parses it, so it must
 * not depend on a session's settings.  Those that matter are pinned around the calls of
 * output functions whose results depend on them.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "base/user.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "mirror/key.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

/* The part of an abbreviated key that is kept, in bytes. */
#define ABBREVIATED_BYTES	200

/* What the output function of a type depends on, besides the value. */
typedef enum TextDependence
{
	DEPENDS_ON_NOTHING,
	DEPENDS_ON_SETTINGS,		/* those that pin_settings() pins */
	DEPENDS_ON_NAMES			/* also the search path or the locale; assumed
								 * for unknown types */
} TextDependence;

/*
 * Check for a type of references to catalog objects.  The key's text has the object's oid
 * and not its name, because no row changes when an object is renamed.
 */
static bool
is_reference_type(Oid type)
{
	switch (type)
	{
		case REGPROCOID:
		case REGPROCEDUREOID:
		case REGOPEROID:
		case REGOPERATOROID:
		case REGCLASSOID:
		case REGTYPEOID:
		case REGROLEOID:
		case REGNAMESPACEOID:
		case REGCOLLATIONOID:
		case REGCONFIGOID:
		case REGDICTIONARYOID:
			return true;
		default:
			return false;
	}
}

static TextDependence
text_dependence(Oid type)
{
	Oid			element;

	if (is_reference_type(type))
		return DEPENDS_ON_NOTHING;
	switch (type)
	{
		case BOOLOID:
		case CHAROID:
		case NAMEOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
		case NUMERICOID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case UUIDOID:
		case INETOID:
		case CIDROID:
			return DEPENDS_ON_NOTHING;
		case FLOAT4OID:
		case FLOAT8OID:
		case BYTEAOID:
		case DATEOID:
		case TIMEOID:
		case TIMETZOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case INTERVALOID:
			return DEPENDS_ON_SETTINGS;
	}
	element = get_element_type(type);
	if (OidIsValid(element))
		return text_dependence(getBaseType(element));
	return get_typtype(type) == TYPTYPE_ENUM ? DEPENDS_ON_NOTHING : DEPENDS_ON_NAMES;
}

/* Set a column's type, and the functions that convert its values to text and back. */
static void
init_conversion(KeyColumn *column, Oid declared_type, int32 typmod)
{
	Oid			type;
	Oid			function;
	bool		varlena;

	column->typmod = typmod;
	column->type = getBaseTypeAndTypmod(declared_type, &column->typmod);
	column->is_domain = column->type != declared_type;
	type = is_reference_type(column->type) ? OIDOID : column->type;
	getTypeOutputInfo(type, &function, &varlena);
	fmgr_info(function, &column->output);
	getTypeInputInfo(type, &function, &column->ioparam);
	fmgr_info(function, &column->input);
}

/* Fill in column i of the index.  Returns false if it has not all operators that are needed. */
static bool
init_key_column(KeyColumn *column, Relation rel, Relation index, int i)
{
	AttrNumber	attnum = index->rd_index->indkey.values[i];
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	Oid			opfamily = index->rd_opfamily[i];
	Oid			opcintype = index->rd_opcintype[i];

	column->attnum = attnum;
	column->name = pstrdup(NameStr(att->attname));
	column->equals = get_opfamily_member(opfamily, opcintype, opcintype, BTEqualStrategyNumber);
	column->less = get_opfamily_member(opfamily, opcintype, opcintype, BTLessStrategyNumber);
	column->greater = get_opfamily_member(opfamily, opcintype, opcintype, BTGreaterStrategyNumber);
	column->collation = index->rd_indcollation[i] == att->attcollation ? InvalidOid : index->rd_indcollation[i];
	column->descending = (index->rd_indoption[i] & INDOPTION_DESC) != 0;
	column->nulls_first = (index->rd_indoption[i] & INDOPTION_NULLS_FIRST) != 0;
	init_conversion(column, att->atttypid, att->atttypmod);
	return OidIsValid(column->equals) && OidIsValid(column->less) && OidIsValid(column->greater);
}

/*
 * Return the index of a primary key that is deferrable; InvalidOid if there is none.  The
 * relation cache leaves it out, because its values may not be unique within a transaction.
 * The keys that are read here are those of committed rows.
 */
static Oid
deferrable_index(List *indexes)
{
	Oid			found = InvalidOid;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(lc)));
		Form_pg_index index;

		if (!HeapTupleIsValid(tuple))
			continue;
		index = (Form_pg_index) GETSTRUCT(tuple);
		if (index->indisprimary && index->indisvalid)
			found = index->indexrelid;
		ReleaseSysCache(tuple);
	}
	return found;
}

Oid
key_index(Relation rel)
{
	List	   *indexes = RelationGetIndexList(rel);	/* sets two fields, too */
	Oid			deferrable;

	if (OidIsValid(rel->rd_pkindex))
		return rel->rd_pkindex;
	deferrable = deferrable_index(indexes);
	return OidIsValid(deferrable) ? deferrable : rel->rd_replidindex;
}

/* Note which settings must be pinned for the text of a column of this type. */
static void
note_dependence(Key *key, Oid type)
{
	TextDependence dependence = text_dependence(type);

	key->pin_settings = key->pin_settings || dependence != DEPENDS_ON_NOTHING;
	key->pin_names = key->pin_names || dependence == DEPENDS_ON_NAMES;
}

Key *
key_of_types(int n, const AttrNumber *attnums, const Oid *types, const int32 *typmods)
{
	Key		   *key = palloc0(sizeof(Key));

	key->ncolumns = n;
	key->columns = palloc0(sizeof(KeyColumn) * n);
	for (int i = 0; i < n; i++)
	{
		key->columns[i].attnum = attnums[i];
		init_conversion(&key->columns[i], types[i], typmods[i]);
		note_dependence(key, key->columns[i].type);
	}
	return key;
}

Key *
key_of_relation(Relation rel)
{
	Oid			index_oid = key_index(rel);
	Relation	index;
	Key		   *key;
	bool		complete = true;

	if (!OidIsValid(index_oid))
		return NULL;
	index = index_open(index_oid, AccessShareLock);
	if (index->rd_rel->relam != BTREE_AM_OID)
	{
		index_close(index, AccessShareLock);
		return NULL;			/* 18: WITHOUT OVERLAPS has no equality */
	}
	key = palloc0(sizeof(Key));
	key->index = index_oid;
	key->ncolumns = index->rd_index->indnkeyatts;
	key->columns = palloc0(sizeof(KeyColumn) * key->ncolumns);
	for (int i = 0; i < key->ncolumns; i++)
	{
		complete = init_key_column(&key->columns[i], rel, index, i) && complete;
		note_dependence(key, key->columns[i].type);
	}
	index_close(index, AccessShareLock);
	return complete ? key : NULL;
}

/* Append one field of a row's text, quoted as record_out() does. */
static void
append_field(StringInfo buf, const char *text)
{
	bool		quote = text[0] == '\0' || strpbrk(text, "\"\\(), \t\n\r\v\f") != NULL;

	if (quote)
		appendStringInfoChar(buf, '"');
	for (const char *p = text; *p; p++)
	{
		if (*p == '"' || *p == '\\')
			appendStringInfoChar(buf, *p);
		appendStringInfoChar(buf, *p);
	}
	if (quote)
		appendStringInfoChar(buf, '"');
}

static char *
columns_to_text(const Key *key, const Datum *values)
{
	StringInfoData buf;

	if (key->ncolumns == 1)
		return OutputFunctionCall(&key->columns[0].output, values[0]);

	initStringInfo(&buf);
	for (int i = 0; i < key->ncolumns; i++)
	{
		appendStringInfoChar(&buf, i == 0 ? '(' : ',');
		append_field(&buf, OutputFunctionCall(&key->columns[i].output, values[i]));
	}
	appendStringInfoChar(&buf, ')');
	return buf.data;
}

char *
key_to_text(const Key *key, const Datum *values)
{
	int			nest_level;
	char	   *text;

	if (!key->pin_settings)
		return columns_to_text(key, values);
	nest_level = key->pin_names ? pin_name_settings() : pin_settings();
	text = columns_to_text(key, values);
	unpin_settings(nest_level);
	return text;
}

/* Parse one field of a row's text; return what follows it. */
static const char *
read_field(const char *p, StringInfo field)
{
	bool		quoted = false;

	resetStringInfo(field);
	for (; *p && (quoted || (*p != ',' && *p != ')')); p++)
	{
		if (*p == '"' && quoted && p[1] == '"')
			appendStringInfoChar(field, *++p);
		else if (*p == '"')
			quoted = !quoted;
		else if (*p == '\\' && p[1])
			appendStringInfoChar(field, *++p);
		else
			appendStringInfoChar(field, *p);
	}
	return p;
}

static void
text_to_columns(const Key *key, const char *text, Datum *values)
{
	StringInfoData field;
	const char *p = text;

	initStringInfo(&field);
	for (int i = 0; i < key->ncolumns; i++)
	{
		const KeyColumn *column = &key->columns[i];
		const char *value = text;

		if (key->ncolumns > 1)
		{
			if (*p != (i == 0 ? '(' : ','))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
						 errmsg("the stored key does not have %d columns", key->ncolumns)));
			p = read_field(p + 1, &field);
			value = field.data;
		}
		values[i] = InputFunctionCall((FmgrInfo *) &column->input, (char *) value,
									  column->ioparam, column->typmod);
	}
}

void
key_from_text(const Key *key, const char *text, Datum *values)
{
	int			nest_level = key->pin_names ? pin_name_settings() : 0;

	text_to_columns(key, text, values);
	if (key->pin_names)
		unpin_settings(nest_level);
}

const char *
key_abbreviate(const char *key)
{
	int			len = strlen(key);

	if (len <= MAX_KEY_BYTES)
		return key;
	return psprintf("%.*s... (%d bytes, hash %016llx)", pg_mbcliplen(key, len, ABBREVIATED_BYTES), key, len,
					(unsigned long long) hash_bytes_extended((const unsigned char *) key, len, 0));
}

bool
key_same_column(TupleTableSlot *old, TupleTableSlot *new, AttrNumber attnum)
{
	Form_pg_attribute att = TupleDescAttr(new->tts_tupleDescriptor, attnum - 1);
	bool		old_null;
	bool		new_null;
	Datum		old_value = slot_getattr(old, attnum, &old_null);
	Datum		new_value = slot_getattr(new, attnum, &new_null);

	if (old_null || new_null)
		return old_null && new_null;
	return datumIsEqual(old_value, new_value, att->attbyval, att->attlen);
}
