/*-------------------------------------------------------------------------
 *
 * event_triggers.h
 *		The extension's event triggers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_EVENT_TRIGGERS_H
#define MIXPEEK_EVENT_TRIGGERS_H

/*
 * Set whether the caller takes care of the records of mirrors whose triggers this session drops from
 * now on.  The default is false: they are deleted.
 */
extern void event_triggers_leave_mirrors(bool leave);

#endif							/* MIXPEEK_EVENT_TRIGGERS_H */
