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
 * Set whether the records of mirrors that this session drops from now on are kept.  The
 * worker needs them to delete the documents.  The default is false: they are deleted.
 */
extern void event_triggers_keep_documents(bool keep);

#endif							/* MIXPEEK_EVENT_TRIGGERS_H */
