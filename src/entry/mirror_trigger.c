/*-------------------------------------------------------------------------
 *
 * mirror_trigger.c
 *		Triggers that mirror() creates, and those that it finds and keeps.
 *
 * A mirror's trigger may have been created or altered by hand: its events, UPDATE OF, whether
 * it is enabled, and arguments.  mirror() changes only what its arguments name.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/relation.h"
#include "base/extension.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/defrem.h"
#include "commands/trigger.h"
#include "entry/mirror_trigger.h"
#include "executor/spi.h"
#include "mirror/mirror.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

void
mirror_trigger_run_utility(const char *sql)
{
	int			rc;

	SPI_connect();
	rc = SPI_execute(sql, false, 0);
	if (rc < 0)
		elog(ERROR, "SPI_execute failed: %s", SPI_result_code_string(rc));
	SPI_finish();
}

static char *
qualify_table(Oid relation)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), get_rel_name(relation));
}

/*
 * Finding triggers
 */

/* Copy a trigger of a copied descriptor, see mirror_triggers(). */
static MirrorTrigger *
copy_trigger(Relation rel, const Trigger *trigger)
{
	MirrorTrigger *copy = palloc0(sizeof(MirrorTrigger));

	copy->name = trigger->tgname;
	copy->type = trigger->tgtype;
	copy->enabled = trigger->tgenabled;
	copy->nargs = trigger->tgnargs;
	copy->args = trigger->tgargs;
	copy->when = trigger->tgqual;
	for (int i = 0; i < trigger->tgnattr; i++)
		copy->columns = lappend(copy->columns, get_attname(RelationGetRelid(rel), trigger->tgattr[i], false));
	return copy;
}

List *
mirror_trigger_list(Relation rel, const char *collection, bool for_row)
{
	Oid			function = mirror_function();
	TriggerDesc *triggers = mirror_triggers(rel);
	List	   *found = NIL;

	for (int i = 0; i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (mirror_is_trigger_into(trigger, function, collection) &&
			(bool) TRIGGER_FOR_ROW(trigger->tgtype) == for_row)
			found = lappend(found, copy_trigger(rel, trigger));
	}
	return found;
}

/* Check whether the table has a trigger of this name. */
static bool
name_is_taken(Relation rel, const char *name)
{
	TriggerDesc *triggers = mirror_triggers(rel);

	for (int i = 0; i < triggers->numtriggers; i++)
	{
		if (strcmp(triggers->triggers[i].tgname, name) == 0)
			return true;
	}
	return false;
}

/* Return first_second, cut to the length of an identifier, and numbered if another trigger has this name. */
static char *
choose_free_name(Relation rel, const char *first, const char *second)
{
	char	   *name = makeObjectName(first, second, NULL);

	for (int i = 2; name_is_taken(rel, name); i++)
		name = makeObjectName(first, second, psprintf("%d", i));
	return name;
}

/* Return a name for the truncate trigger that begins with the row trigger's. */
static char *
choose_truncate_name(Relation rel, const char *collection)
{
	List	   *row_triggers = mirror_trigger_list(rel, collection, true);

	return choose_free_name(rel, row_triggers ? ((MirrorTrigger *) linitial(row_triggers))->name : "mixpeek",
							"truncate");
}

MirrorTrigger *
mirror_trigger_new(Relation rel, char *collection, bool for_row)
{
	MirrorTrigger *trigger = palloc0(sizeof(MirrorTrigger));

	if (!for_row)
		trigger->name = choose_truncate_name(rel, collection);
	else
		trigger->name = name_is_taken(rel, "mixpeek") ? choose_free_name(rel, "mixpeek", collection) : "mixpeek";
	trigger->type = for_row ?
		TRIGGER_TYPE_ROW | TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE :
		TRIGGER_TYPE_TRUNCATE;
	trigger->enabled = TRIGGER_FIRES_ON_ORIGIN;
	trigger->nargs = 1;
	trigger->args = palloc(sizeof(char *));
	trigger->args[0] = collection;
	return trigger;
}

/*
 * Changing options
 */

/* Return the option that an argument sets; NULL if it is none of these. */
static const MirrorOption *
find_option(const char *arg, const MirrorOption *options, int noptions)
{
	for (int i = 0; i < noptions; i++)
	{
		size_t		len = strlen(options[i].name);

		if (strncmp(arg, options[i].name, len) == 0 && arg[len] == '=')
			return &options[i];
	}
	return NULL;
}

static char *
make_argument(const MirrorOption *option)
{
	return psprintf("%s=%s", option->name, option->value);
}

MirrorTrigger *
mirror_trigger_with_options(const MirrorTrigger *trigger, const MirrorOption *options, int noptions)
{
	MirrorTrigger *copy = palloc(sizeof(MirrorTrigger));
	bool	   *done = palloc0(sizeof(bool) * noptions);

	*copy = *trigger;
	copy->args = palloc(sizeof(char *) * (trigger->nargs + noptions));
	copy->args[0] = trigger->args[0];
	copy->nargs = 1;
	for (int i = 1; i < trigger->nargs; i++)
	{
		const MirrorOption *option = find_option(trigger->args[i], options, noptions);

		if (option == NULL || option->value == NULL)
			copy->args[copy->nargs++] = trigger->args[i];
		else if (!option->is_default)
			copy->args[copy->nargs++] = make_argument(option);
		if (option)
			done[option - options] = true;
	}
	for (int i = 0; i < noptions; i++)
	{
		if (options[i].value && strcmp(options[i].name, "filter") == 0)
			copy->when = NULL;
		if (options[i].value && !options[i].is_default && !done[i])
			copy->args[copy->nargs++] = make_argument(&options[i]);
	}
	return copy;
}

bool
mirror_trigger_is_same(const MirrorTrigger *a, const MirrorTrigger *b)
{
	if (a->nargs != b->nargs || (a->when == NULL) != (b->when == NULL))
		return false;
	for (int i = 0; i < a->nargs; i++)
	{
		if (strcmp(a->args[i], b->args[i]) != 0)
			return false;
	}
	return true;
}

/*
 * Creating
 */

/* A trigger of the table or of a partition that is not in its ordinary state. */
typedef struct TriggerState
{
	Oid			relation;
	char		enabled;
} TriggerState;

/* Append the trigger's state if the table has a trigger of this name in a state that CREATE TRIGGER would reset. */
static List *
add_state(List *states, Oid relation, const char *name)
{
	Relation	rel = relation_open(relation, NoLock);

	for (int i = 0; rel->trigdesc && i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &rel->trigdesc->triggers[i];

		if (strcmp(trigger->tgname, name) == 0 && trigger->tgenabled != TRIGGER_FIRES_ON_ORIGIN)
		{
			TriggerState *state = palloc(sizeof(TriggerState));

			state->relation = relation;
			state->enabled = trigger->tgenabled;
			states = lappend(states, state);
		}
	}
	relation_close(rel, NoLock);
	return states;
}

/* Return the states of the triggers of this name on the table and its partitions, as a List of TriggerState. */
static List *
find_states(Oid relation, const char *name)
{
	List	   *states = NIL;
	ListCell   *lc;

	if (get_rel_relkind(relation) != RELKIND_PARTITIONED_TABLE)
		return add_state(NIL, relation, name);
	foreach(lc, find_all_inheritors(relation, ShareRowExclusiveLock, NULL))
		states = add_state(states, lfirst_oid(lc), name);
	return states;
}

static void
set_state(Oid relation, const char *name, char enabled)
{
	const char *action = enabled == TRIGGER_DISABLED ? "DISABLE" :
		enabled == TRIGGER_FIRES_ALWAYS ? "ENABLE ALWAYS" : "ENABLE REPLICA";

	mirror_trigger_run_utility(psprintf("ALTER TABLE ONLY %s %s TRIGGER %s", qualify_table(relation), action,
										quote_identifier(name)));
}

/* Append the trigger's events: INSERT OR UPDATE OF a, b ... */
static void
append_events(StringInfo sql, const MirrorTrigger *trigger)
{
	static const struct
	{
		int16		type;
		const char *name;
	}			events[] =
	{
		{TRIGGER_TYPE_INSERT, "INSERT"},
		{TRIGGER_TYPE_UPDATE, "UPDATE"},
		{TRIGGER_TYPE_DELETE, "DELETE"},
		{TRIGGER_TYPE_TRUNCATE, "TRUNCATE"},
	};
	const char *separator = "";
	ListCell   *lc;

	for (int i = 0; i < (int) lengthof(events); i++)
	{
		if (!(trigger->type & events[i].type))
			continue;
		appendStringInfo(sql, "%s%s", separator, events[i].name);
		separator = " OR ";
		if (events[i].type != TRIGGER_TYPE_UPDATE)
			continue;
		foreach(lc, trigger->columns)
			appendStringInfo(sql, "%s %s", lc == list_head(trigger->columns) ? " OF" : ",",
							 quote_identifier(lfirst(lc)));
	}
}

/*
 * Return the qualified name of mirror_row(), made from its oid: the schema may have been
 * renamed, and a function of another schema must not be called.
 */
static const char *
trigger_function_name(void)
{
	Oid			function = mirror_function();

	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("extension \"%s\" has no function \"mirror_row\"", EXTENSION_NAME)));
	return quote_qualified_identifier(get_namespace_name(get_func_namespace(function)),
									  get_func_name(function));
}

void
mirror_trigger_create(const MirrorTrigger *trigger, Oid relation)
{
	List	   *states;
	StringInfoData sql;
	ListCell   *lc;

	if (trigger == NULL)
		return;
	states = find_states(relation, trigger->name);
	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE OR REPLACE TRIGGER %s AFTER ", quote_identifier(trigger->name));
	append_events(&sql, trigger);
	appendStringInfo(&sql, " ON %s FOR EACH %s EXECUTE FUNCTION %s(", qualify_table(relation),
					 TRIGGER_FOR_ROW(trigger->type) ? "ROW" : "STATEMENT", trigger_function_name());
	for (int i = 0; i < trigger->nargs; i++)
		appendStringInfo(&sql, "%s%s", i ? ", " : "", quote_literal_cstr(trigger->args[i]));
	appendStringInfoChar(&sql, ')');
	mirror_trigger_run_utility(sql.data);
	foreach(lc, states)
	{
		TriggerState *state = lfirst(lc);

		set_state(state->relation, trigger->name, state->enabled);
	}
	if (states == NIL && trigger->enabled != TRIGGER_FIRES_ON_ORIGIN)
		set_state(relation, trigger->name, trigger->enabled);
}
