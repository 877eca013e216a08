/*
 * list.h
 *	  The list operation.
 */
#ifndef LIST_H
#define LIST_H

#include "request.h"

extern void document_list(Request *request);

#endif
