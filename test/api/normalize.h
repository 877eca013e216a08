/*
 * normalize.h
 *	  What the service makes of metadata before it is stored.
 */
#ifndef NORMALIZE_H
#define NORMALIZE_H

#include <stdbool.h>

#include "buffer.h"

extern bool normalize_metadata(Buffer *text);

#endif
