/*
 * fault.h
 *	  Faults on demand: what /_control/faults asked to go wrong.
 */
#ifndef FAULT_H
#define FAULT_H

#include "request.h"

/* What is to happen to the request now. */
typedef enum FaultStep
{
	STEP_GO,					/* on with it, in the phase that is set */
	STEP_WAIT,					/* it is suspended */
	STEP_CLOSE					/* its connection is to be closed */
} FaultStep;

extern void faults_start(void);
extern const char *faults_replace(const JsonNode *list);
extern void faults_clear(void);
extern void fault_pick(Request *request);
extern void fault_release(Request *request);
extern FaultStep fault_before_work(Request *request);
extern FaultStep fault_after_work(Request *request);

#endif
