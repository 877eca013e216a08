/*
 * account.h
 *	  Whose key it is, what it may do, and the credits that are left.
 */
#ifndef ACCOUNT_H
#define ACCOUNT_H

#include "request.h"

extern bool account_take_credits(Request *request, long count);
extern bool account_may_write(Request *request);
extern void account_me(Request *request);
extern void account_balance(Request *request);

#endif
