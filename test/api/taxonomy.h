/*
 * taxonomy.h
 *	  Applying a taxonomy to documents that are there, and the task of doing so.
 */
#ifndef TAXONOMY_H
#define TAXONOMY_H

#include "request.h"

extern void taxonomy_apply(Request *request);
extern void taxonomy_task(Request *request);

#endif
