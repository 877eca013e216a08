/*-------------------------------------------------------------------------
 *
 * template_spelling.c
 *		Warns of fields of a template that look like misspelled ones.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "mb/pg_wchar.h"
#include "mirror/template_spelling.h"
#include "remote/contract.h"
#include "utils/varlena.h"

/* Check whether b is a with two neighbouring bytes swapped; both have len bytes. */
static bool
has_swapped_bytes(const char *a, const char *b, int len)
{
	int			i = 0;

	while (i < len && a[i] == b[i])
		i++;
	return i + 1 < len && a[i] == b[i + 1] && a[i + 1] == b[i] &&
		memcmp(a + i + 2, b + i + 2, len - i - 2) == 0;
}

static bool
is_one_edit_away(const char *name, const char *known)
{
	int			len = strlen(name);
	int			known_len = strlen(known);

	if (abs(len - known_len) > MAX_MULTIBYTE_CHAR_LEN)
		return false;			/* don't compare long names */
	return varstr_levenshtein_less_equal(name, len, known, known_len, 1, 1, 1, 1, true) <= 1 ||
		(len == known_len && has_swapped_bytes(name, known, len));
}

/* Return the known field that the name is one edit away from; NULL if it is known, or there is none. */
static const char *
find_similar_field(const char *name)
{
	const char *similar = NULL;
	const char *known;

	for (int i = 0; (known = contract_field_name(&contract_create, i)) != NULL; i++)
	{
		if (strcmp(name, known) == 0)
			return NULL;
		if (similar == NULL && is_one_edit_away(name, known))
			similar = known;
	}
	return similar;
}

static void
warn_of_misspelling(const char *name)
{
	const char *similar = find_similar_field(name);

	if (similar)
		ereport(WARNING,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the document template has an unknown field \"%s\"", name),
				 errdetail("It is sent to the API as it is."),
				 errhint("Perhaps you meant the field \"%s\".", similar)));
}

void
template_warn_of_misspellings(Jsonb *document)
{
	JsonbIterator *it = JsonbIteratorInit(&document->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			warn_of_misspelling(pnstrdup(value.val.string.val, value.val.string.len));
	}
}
