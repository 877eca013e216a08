/*-------------------------------------------------------------------------
 *
 * hidden_changes.h
 *		Commands that can change rows or documents without firing row triggers.
 *
 * Each of them makes the worker compare all rows and all records of the mirrors concerned.
 * Must be called in a transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_HIDDEN_CHANGES_H
#define MIXPEEK_HIDDEN_CHANGES_H

/* Have all rows and records compared of the mirrors that a table belongs to, itself or as a partition. */
extern void hidden_changes_note(Oid table);

/* Note that a partition's clone of a trigger was dropped with its partition: parent is the trigger that it was cloned from. */
extern void hidden_changes_note_dropped_clone(Oid parent);

/* Note that a table is being truncated, which fires no trigger of a table that it is a partition of. */
extern void hidden_changes_note_truncate(Oid table);

#endif							/* MIXPEEK_HIDDEN_CHANGES_H */
