/*-------------------------------------------------------------------------
 *
 * delegate.h
 *		The part of the worker's work that agents do (agents.h).
 *
 * A key whose row an agent reads is claimed twice.  The first time its job is created
 * and sent to the agent, while its entries stay in the outbox.  The second time, when
 * the row has been read, the job continues like any other, provided that its mirror
 * has not changed meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_DELEGATE_H
#define MIXPEEK_DELEGATE_H

#include "worker/agents.h"
#include "worker/forward.h"
#include "worker/mirror_cache.h"

typedef struct Delegation
{
	List	   *requests;		/* AgentRequest of a claim, not yet sent */
	List	   *answers;		/* AgentRequest that has ended, for the next
								 * claim */
} Delegation;

/*
 * Check whether the mirror's rows can be read or listed now.  If wanted is true and an agent is
 * needed, an idle agent may be ended to make room for it.
 */
extern bool delegate_is_served(Worker *worker, const CachedMirror *cached, bool wanted);

/*
 * Take the jobs whose rows an agent has to read out of the list, and return the other
 * jobs.  Jobs that do not fit into a request are freed; their entries are claimed
 * again.
 */
extern List *delegate_reads(Worker *worker, List *jobs);

/* Have an agent list up to limit keys for an entry that stands for many. */
extern void delegate_scan(Worker *worker, CachedMirror *cached, const OutboxEntry *entry, int limit);

/* Check whether this claim has already had the entry's keys listed. */
extern bool delegate_is_listing(const Worker *worker, OutboxEntry *entry);

/*
 * Send the requests that a claim has collected.  To be called after its transaction
 * has committed.
 */
extern void delegate_send(Worker *worker);

/*
 * Callbacks for the results: a job's row was read, with problem if end is ROW_FAILED;
 * an entry's keys were listed, or could not be, with problem; false: the entry is left in the outbox.
 * Called in the transaction of a claim.
 */
typedef void (*DelegateJobFunction) (void *arg, Job *job, RowEnd end, const char *problem);
typedef bool (*DelegateScanFunction) (void *arg, CachedMirror *cached, OutboxEntry *entry, List *keys,
									  const char *problem);

/*
 * Take in the results that have arrived: call on_job for each job that was read, and
 * on_scan for each entry.  Jobs whose mirror has changed meanwhile are freed, to be
 * claimed again.  Arguments of the callbacks are valid until
 * delegate_forget_answers().
 */
extern void delegate_take_answers(Worker *worker, DelegateJobFunction on_job,
								  DelegateScanFunction on_scan, void *arg);
extern void delegate_forget_answers(Worker *worker);

/*
 * Clean up after an error in delegate_take_answers(): have the jobs freed like those
 * of a claim that failed.
 */
extern void delegate_abort(Worker *worker);

/* Check whether there are results that the next claim has to take in. */
extern bool delegate_has_answers(const Worker *worker);

/* Check whether the mirror has columns for document ids or enrichments. */
extern bool delegate_has_columns(const Mirror *mirror);

/* Check whether the job's document id and enrichments have to be written into its row's columns. */
extern bool delegate_wants_write_back(const Job *job);

/* Exchange messages with the agents, and settle write-backs.  Must be called outside of a transaction. */
extern void delegate_turn(Worker *worker);

/* Check whether the worker waits for an agent, or has something to be sent to one. */
extern bool delegate_is_busy(const Worker *worker);

#endif							/* MIXPEEK_DELEGATE_H */
