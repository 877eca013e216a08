/*
 * fault.h
 *	  Faults on demand: what /_control/faults asked to go wrong.
 */
#ifndef FAULT_H
#define FAULT_H

#include "request.h"

typedef enum FaultKind
{
	FAULT_STATUS, FAULT_STATUS_AFTER, FAULT_DELAY, FAULT_RESET_BEFORE, FAULT_RESET_AFTER,
	FAULT_RESET_LATE, FAULT_HANG, FAULT_CUT, FAULT_MALFORMED, FAULT_HUGE, FAULT_DRIP,
	FAULT_WRONG_TYPE, FAULT_REDIRECT, FAULT_REFUSE_FILTER,
	FAULT_KINDS
} FaultKind;

/* What is to happen to the request now. */
typedef enum FaultStep
{
	STEP_GO,					/* on with it, in the phase that is set */
	STEP_WAIT,					/* it is suspended */
	STEP_CLOSE					/* its connection is to be closed */
} FaultStep;

extern const char *const fault_kind_names[];

extern void faults_start(void);
extern const char *faults_replace(const JsonNode *list);
extern void faults_clear(void);
extern void fault_pick(Request *request);
extern void fault_release(Request *request);
extern FaultStep fault_before_work(Request *request);
extern FaultStep fault_after_work(Request *request);

#endif
