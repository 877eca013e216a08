/*-------------------------------------------------------------------------
 *
 * adoption.c
 *		What mixpeek.adopt() does with the records.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/statement.h"
#include "state/adoption.h"
#include "state/mirror_records.h"
#include "state/origin.h"
#include "state/outbox.h"
#include "state/owed.h"

/* Make the worker send all rows again that have a document, and those of which it finds one. */
static void
forget_contents(void)
{
	static Statement update = {"UPDATE mixpeek.documents SET " FORGET_CONTENT " WHERE " KNOWS_CONTENT, 0, {0}};

	(void) statement_execute(&update, NULL, NULL);
}

void
adoption_continue(bool older)
{
	static const char operations[] = {OUTBOX_ALL_STORED, OUTBOX_ALL_ROWS, OUTBOX_ALL_LISTED, '\0'};

	origin_take_over(NULL, true);
	origin_distrust_inserts();
	if (!older)
		return;
	forget_contents();
	outbox_put_mirrors(operations, NULL);
}

void
adoption_start_anew(void)
{
	static Statement forget = {
		"WITH o AS (DELETE FROM mixpeek.outbox), d AS (DELETE FROM mixpeek.documents)"
		" DELETE FROM mixpeek.forgotten",
		0, {0}
	};
	static Statement new_id = {"SELECT pg_catalog.gen_random_uuid()::text", 0, {0}};
	static const char operations[] = {OUTBOX_ALL_ROWS, '\0'};
	char	   *id;

	statement_run(&new_id, NULL, NULL);
	id = statement_text(SPI_tuptable->vals[0], 1);
	statement_end();
	origin_take_over(id, false);
	(void) statement_execute(&forget, NULL, NULL);
	outbox_put_mirrors(operations, NULL);
}

void
adoption_change_origin(const char *id)
{
	static const char operations[] = {OUTBOX_ALL_STORED, OUTBOX_ALL_ROWS, OUTBOX_ALL_LISTED, '\0'};

	origin_take_over(id, true);
	origin_distrust_inserts();
	document_owe_all();
	outbox_put_mirrors(operations, NULL);
}
