/*-------------------------------------------------------------------------
 *
 * account.c
 *		A server as one owner uses it: one API key, one set of limits.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/clock.h"
#include "base/guard.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "worker/account.h"

/* Records read at a time to find the keys that have waited for a change of their server. */
#define HURRY_BATCH		1000

/* Documents are assumed to be this large until some have been seen. */
#define FIRST_MEAN_BYTES (1024.0 * 1024.0)

Account *
account_create(const char *server, Oid owner)
{
	Account    *account = palloc0(sizeof(Account));

	account->name = pstrdup(server);
	account->owner = owner;
	account->mean_bytes = FIRST_MEAN_BYTES;
	dlist_init(&account->ready);
	return account;
}

bool
account_needs_load(const Account *account)
{
	return !account->valid || (account->problem && account->retry_at <= clock_seconds());
}

void
account_invalidate(Account *account, uint32 server_hash)
{
	if (server_hash != 0 && account->server && account->server_hash != server_hash)
		return;
	account->valid = false;
	account->altered = account->altered || server_hash != 0;
}

static void
load_server(void *arg)
{
	Account    *account = arg;
	MemoryContext old = MemoryContextSwitchTo(account->context);

	account->server = mixpeek_server_get(account->name, account->owner);
	account->server_hash = GetSysCacheHashValue1(FOREIGNSERVEROID, ObjectIdGetDatum(account->server->serverid));
	MemoryContextSwitchTo(old);
}

static bool
has_same_limits(const MixpeekServer *a, const MixpeekServer *b)
{
	return a->max_connections == b->max_connections &&
		a->requests_per_minute == b->requests_per_minute &&
		strcmp(a->base_url, b->base_url) == 0 && strcmp(a->api_key, b->api_key) == 0;
}

static bool
are_texts_equal(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* Check whether all options are the same, so that what was found out about the server still holds. */
static bool
is_same_server(const MixpeekServer *a, const MixpeekServer *b)
{
	return has_same_limits(a, b) && a->serverid == b->serverid && a->userid == b->userid &&
		are_texts_equal(a->namespace, b->namespace) && are_texts_equal(a->ca_file, b->ca_file) &&
		a->connect_timeout == b->connect_timeout && a->request_timeout == b->request_timeout &&
		a->create_unfindable == b->create_unfindable && a->contract == b->contract;
}

/* Have the server's pending keys made due, since what they wait for may be over. */
static void
start_hurry(Account *account)
{
	account->hurries = true;
	account->hurry_position = clock_now();
	account->hurry_batch = HURRY_BATCH;
}

/*
 * Adjust the account to a server that may have changed.  old is NULL if the server
 * could not be used before; first: this is the account's first load.
 */
static void
apply_server(Account *account, const MixpeekServer *old, bool first)
{
	bool		same = old != NULL && has_same_limits(old, account->server);

	if (!first && (!same || account->throttle.down))
		start_hurry(account);
	throttle_reload(&account->throttle, account->server, same);
	if (!same)
	{
		account->lookups.size = LOOKUP_BATCH;
		account->lookups.works = account->lookups.refused = false;
		account->fields_stay = false;
	}
}

static void
report_recovery(Account *account)
{
	account->problem_reported = false;
	ereport(LOG,
			(errmsg("mixpeek_docs: server \"%s\" can be used", account->name)));
}

void
account_load(Account *account, MemoryContext parent)
{
	MemoryContext old_context = account->context;
	MixpeekServer *old_server = account->server;
	bool		altered = account->altered;
	char	   *problem;

	account->context = AllocSetContextCreate(parent, "mixpeek account", ALLOCSET_SMALL_SIZES);
	account->server = NULL;
	account->problem = NULL;
	account->valid = true;
	account->altered = false;
	problem = guard_call(load_server, account);
	if (problem)
	{
		account->server = NULL;
		account->problem = MemoryContextStrdup(account->context, problem);
		if (!account->problem_reported)
			account->retry_at = 0;	/* not the time set for an earlier problem */
	}
	else if (old_server == NULL || altered || !is_same_server(old_server, account->server))
		apply_server(account, old_server, old_context == NULL);
	if (problem == NULL && account->problem_reported)
		report_recovery(account);
	if (old_context)
		MemoryContextDelete(old_context);
}

void
account_report_problem(Account *account)
{
	account->retry_at = clock_seconds() + RETRY_PROBLEM;
	if (account->problem_reported)
		return;
	account->problem_reported = true;
	ereport(LOG,
			(errmsg("mixpeek_docs: server \"%s\" cannot be used, its keys wait: %s",
					account->name, account->problem)));
}
