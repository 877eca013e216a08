/*-------------------------------------------------------------------------
 *
 * user.c
 *		Acting as another user, and with settings that do not depend on the session.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/user.h"
#include "miscadmin.h"
#include "utils/guc.h"

/* Settings on which the text of values depends.  What is mirrored must not depend on them. */
static const struct
{
	const char *name;
	const char *value;
}			pinned_settings[] =

{
	{"datestyle", "ISO, YMD"},
	{"intervalstyle", "postgres"},
	{"timezone", "UTC"},
	{"extra_float_digits", "1"},
	{"bytea_output", "hex"},
	{"xmlbinary", "base64"},
	{"quote_all_identifiers", "off"},
};

/*
 * Plans that are not used.  Statements look up keys in tables whose statistics may date from when
 * the tables were empty, and only an index look-up is right whatever their size.  With these plans
 * disabled, a scan that is unavoidable seems so expensive that it would be JIT-compiled each time.
 */
static const char *const disabled_plans[] = {
	"enable_seqscan", "enable_hashjoin", "enable_mergejoin", "jit"
};

/* Settings by which a user could have the worker's statements and data printed, or parsed differently. */
static const struct
{
	const char *name;
	const char *value;
}			quiet_settings[] =

{
	{"debug_print_parse", "off"},
	{"debug_print_rewritten", "off"},
	{"debug_print_plan", "off"},
	{"client_min_messages", "error"},
	{"exit_on_error", "off"},
	{"standard_conforming_strings", "on"},
};

static void
set_local(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

int
pin_settings(void)
{
	int			nest_level = NewGUCNestLevel();

	for (int i = 0; i < (int) lengthof(pinned_settings); i++)
		set_local(pinned_settings[i].name, pinned_settings[i].value);
	return nest_level;
}

int
pin_name_settings(void)
{
	int			nest_level = pin_settings();

	set_local("search_path", "pg_catalog, pg_temp");
	set_local("lc_monetary", "C");
	return nest_level;
}

void
unpin_settings(int nest_level)
{
	AtEOXact_GUC(false, nest_level);
}

void
user_switch(UserState *state, Oid userid)
{
	GetUserIdAndSecContext(&state->userid, &state->sec_context);
	SetUserIdAndSecContext(userid,
						   state->sec_context | SECURITY_RESTRICTED_OPERATION);
	state->guc_nest_level = pin_settings();
	set_local("search_path", "pg_catalog, pg_temp");
	set_local("row_security", "on");
	for (int i = 0; i < (int) lengthof(quiet_settings); i++)
		set_local(quiet_settings[i].name, quiet_settings[i].value);
	for (int i = 0; i < (int) lengthof(disabled_plans); i++)
		set_local(disabled_plans[i], "off");
}

void
user_restore(const UserState *state)
{
	unpin_settings(state->guc_nest_level);
	SetUserIdAndSecContext(state->userid, state->sec_context);
}
