/*
 * overlap.h
 *	  Requests that change one document while another one does.
 */
#ifndef OVERLAP_H
#define OVERLAP_H

#include "request.h"

extern void overlap_begin(Request *request);
extern void overlap_end(Request *request);

#endif
