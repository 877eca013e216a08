/*-------------------------------------------------------------------------
 *
 * user.h
 *		Acting as another user, and with settings that do not depend on the session.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_USER_H
#define MIXPEEK_USER_H

/*
 * Switch to user under SECURITY_RESTRICTED_OPERATION, with pinned output settings, a safe
 * search_path, and planner settings that force index look-ups.  user_restore() undoes this;
 * an abort of the transaction does, too.  The transaction must not end in between otherwise.
 */
typedef struct UserState
{
	Oid			userid;
	int			sec_context;
	int			guc_nest_level;
} UserState;

extern void user_switch(UserState *state, Oid userid);
extern void user_restore(const UserState *state);

/*
 * Pin the settings on which the text of values depends.  Returns the nesting level for
 * unpin_settings().
 */
extern int	pin_settings(void);

/* Pin these, and the settings on which the text of names and amounts of money depends. */
extern int	pin_name_settings(void);

/* Restore all settings that were changed since, including those that users' code has changed. */
extern void unpin_settings(int nest_level);

#endif							/* MIXPEEK_USER_H */
