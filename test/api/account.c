/*
 * account.c
 *	  Whose key it is, what it may do, and the credits that are left.
 */
#include "account.h"

#include <stdlib.h>

#include "answer.h"
#include "limits.h"
#include "options.h"
#include "traits.h"

/* The form in which a write without credits is refused, in the order of the trait's words. */
static const struct
{
	unsigned	status;
	const char *type;
	const char *code;
}			refusals[] = {
	{401, "UnauthorizedError", "credits_exhausted"},
	{402, "PaymentRequiredError", "credits_exhausted"},
	{403, "QuotaExceededError", "quota_exceeded"},
	{429, "TooManyRequestsError", "quota_exceeded"},
};

static void
refuse(Request *request, double left)
{
	int			form = trait(TRAIT_NO_CREDITS);
	Buffer		details = {0};

	buffer_printf(&details, "{\"resource\":\"credits\",\"current\":%.0f,\"limit\":0,\"tier\":\"FREE\"", left);
	answer_add_retryable(&details);
	buffer_char(&details, '}');
	answer_refusal(request, refusals[form].status, refusals[form].type, refusals[form].code,
				   buffer_terminate(&details), "You have used all credits of this billing period");
	buffer_free(&details);
}

/* Take so many credits for new documents; answers, and takes none, where fewer are left. */
bool
account_take_credits(Request *request, long count)
{
	double		left;

	if (!trait_number(TRAIT_CREDITS, &left) || count == 0)
		return true;
	if (left < count)
	{
		refuse(request, left);
		return false;
	}
	trait_set_number(TRAIT_CREDITS, left - count);
	return true;
}

/* Whether the key may write; answers 403 if it may not. */
bool
account_may_write(Request *request)
{
	if (trait(TRAIT_KEY_RIGHTS))
		answer_refusal(request, 403, "ForbiddenError", "insufficient_permissions", NULL,
					   "The API key lacks the permission WRITE");
	return !request->response;
}

void
account_me(Request *request)
{
	static const char *const categories[] = {"metadata", "data", "search", "upload", "compute"};
	Buffer		body = {0};

	buffer_printf(&body, "{\"organization_id\":\"org_local\",\"organization_name\":\"Local\","
				  "\"account_type\":\"FREE\",\"user_email\":null,\"key\":{\"name\":\"local\","
				  "\"key_type\":\"SECRET\",\"permissions\":[\"READ\"%s],\"expires_at\":null},"
				  "\"principal_scoped\":%s,\"rate_limits\":",
				  trait(TRAIT_KEY_RIGHTS) ? "" : ",\"WRITE\",\"DELETE\"",
				  trait(TRAIT_KEY_SCOPE) ? "true" : "false");
	if (options.rate <= 0)
		buffer_literal(&body, "null");
	for (size_t i = 0; options.rate > 0 && i < sizeof(categories) / sizeof(categories[0]); i++)
		buffer_printf(&body, "%s\"%s\":%.0f", i ? "," : "{", categories[i], options.rate);
	buffer_text(&body, options.rate > 0 ? "}}" : "}");
	answer_json(request, 200, &body);
}

void
account_balance(Request *request)
{
	Buffer		body = {0};
	double		left;

	if (!trait_number(TRAIT_CREDITS, &left))
		left = 1000000;
	buffer_printf(&body, "{\"organization_id\":\"org_local\",\"credit_balance\":%.0f,\"account_tier\":\"free\","
				  "\"next_tier\":\"pro\",\"credits_until_next_tier\":null,\"estimated_days_remaining\":null,"
				  "\"daily_burn_rate\":0}", left);
	answer_json(request, 200, &body);
}
