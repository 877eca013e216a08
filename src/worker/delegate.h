/*-------------------------------------------------------------------------
 *
 * delegate.h
 *		What the worker leaves to the agents of tables' owners.
 *
 * A key whose row an agent reads is claimed twice.  The first time its job is made and
 * handed over, while its entries stay in the outbox; the second time, with the answer,
 * it goes the way of all others, if its mirror is still what it was.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MIXPEEK_DELEGATE_H
#define MIXPEEK_DELEGATE_H

#include "worker/agent.h"
#include "worker/forward.h"
#include "worker/account.h"

typedef struct Delegation
{
	List	   *requests;		/* AgentRequest of a claim, not handed over
								 * yet */
	List	   *answers;		/* AgentRequest with answers, for the next
								 * claim */
} Delegation;

/* Can the rows of the cached mirror's mirror, if it has one, be read or listed now?  wanted: there is one to be. */
extern bool delegate_is_served(Worker *worker, const CachedMirror *cached, bool wanted);

/*
 * Takes the jobs whose rows an agent has to read out of the list, and returns the
 * others.  What does not fit into a request is left: its jobs are freed.
 */
extern List *delegate_reads(Worker *worker, List *jobs);

/* Has the keys listed that an entry stands for. */
extern void delegate_scan(Worker *worker, CachedMirror *cached, const OutboxEntry *entry, int limit);

/* Was that done in this claim already? */
extern bool delegate_is_listing(const Worker *worker, OutboxEntry *entry);

/* Hands over what was delegated; after the transaction that did it is committed. */
extern void delegate_send(Worker *worker);

/*
 * A job's row has been read, or an entry's keys listed: what became of it.  In the
 * transaction of a claim.
 */
typedef void (*DelegateJobFunction) (void *arg, Job *job, RowEnd end, const char *problem);
typedef void (*DelegateScanFunction) (void *arg, OutboxEntry *entry, List *keys);

/*
 * Takes up the answers that have come: calls on_job for each job that was read, and
 * on_scan for each entry.  Those whose mirror has changed meanwhile are freed, to be
 * claimed again.  What the arguments point to is valid until delegate_forget_answers().
 */
extern void delegate_take_answers(Worker *worker, DelegateJobFunction on_job,
								  DelegateScanFunction on_scan, void *arg);
extern void delegate_forget_answers(Worker *worker);

/* An error has ended that: the jobs are to be freed as those of a claim that failed. */
extern void delegate_abort(Worker *worker);

/* Answers of agents have come that a claim has to take up. */
extern bool delegate_has_answers(const Worker *worker);

/* What job has to be written into its row's columns. */
extern bool delegate_wants_write_back(const Job *job);

/* Moves requests and answers, outside of a transaction. */
extern void delegate_turn(Worker *worker);

/* The worker waits for an agent, or has something for one. */
extern bool delegate_is_busy(const Worker *worker);

#endif							/* MIXPEEK_DELEGATE_H */
