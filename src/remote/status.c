/*-------------------------------------------------------------------------
 *
 * status.c
 *		What an HTTP status, or a transfer that broke, means.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <limits.h>

#include "remote/status.h"

#define REDIRECTED		"Mixpeek API answered with a redirect"
#define REFUSED			"Mixpeek API refused the request"
#define FAILED			"Mixpeek API failed"
#define PERHAPS_DONE	"The API may have carried the request out."

/*
 * The first row counts that has the end and, if that is HTTP_ANSWERED, whose range
 * covers the status.  test/t/047_status_table.pl reads these rows.
 */
static const StatusMeaning meanings[] =
{
	{HTTP_ANSWERED, 200, 299, VERDICT_DONE, 0,
	0, NULL, NULL},
	{HTTP_ANSWERED, 300, 399, VERDICT_UNREACHED, ERRCODE_PROTOCOL_VIOLATION,
	STATUS_OUTAGE | STATUS_HOLDS_OTHERS, REDIRECTED, "Redirects are not followed. Check the server's option base_url."},
	{HTTP_ANSWERED, 400, 400, VERDICT_REFUSED, ERRCODE_INVALID_PARAMETER_VALUE,
	STATUS_NO_FILTER, REFUSED, NULL},
	{HTTP_ANSWERED, 401, 401, VERDICT_UNAUTHORIZED, ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
	STATUS_OUTAGE | STATUS_HOLDS_OTHERS, REFUSED, "Check the option api_key of the user mapping."},
	{HTTP_ANSWERED, 402, 402, VERDICT_REFUSED, ERRCODE_FDW_ERROR,
	0, REFUSED, "Check the credits of the API key's organization."},
	{HTTP_ANSWERED, 403, 403, VERDICT_REFUSED, ERRCODE_INSUFFICIENT_PRIVILEGE,
	0, REFUSED, "Check what the API key may do, and the server's option namespace."},
	{HTTP_ANSWERED, 404, 404, VERDICT_GONE, ERRCODE_NO_DATA_FOUND,
	0, REFUSED, NULL},
	{HTTP_ANSWERED, 405, 405, VERDICT_REFUSED, ERRCODE_FDW_ERROR,
	STATUS_NO_FILTER, REFUSED, NULL},
	{HTTP_ANSWERED, 408, 408, VERDICT_UNSURE, ERRCODE_CONNECTION_FAILURE,
	0, REFUSED, NULL},
	{HTTP_ANSWERED, 409, 409, VERDICT_REFUSED, ERRCODE_UNIQUE_VIOLATION,
	0, REFUSED, NULL},
	{HTTP_ANSWERED, 413, 413, VERDICT_REFUSED, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
	STATUS_TOO_LARGE, REFUSED, NULL},
	{HTTP_ANSWERED, 422, 422, VERDICT_REFUSED, ERRCODE_INVALID_PARAMETER_VALUE,
	STATUS_NO_FILTER, REFUSED, NULL},
	{HTTP_ANSWERED, 429, 429, VERDICT_SLOW_DOWN, ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
		STATUS_OUTAGE | STATUS_HOLDS_OTHERS | STATUS_OVERLOAD, REFUSED,
	"Wait before the next request, or lower the server's option requests_per_minute."},
	{HTTP_ANSWERED, 400, 499, VERDICT_REFUSED, ERRCODE_FDW_ERROR,
	0, REFUSED, NULL},
	{HTTP_ANSWERED, 502, 502, VERDICT_UNSURE, ERRCODE_SYSTEM_ERROR,
	STATUS_OUTAGE | STATUS_HOLDS_OTHERS | STATUS_MAY_CONTINUE, FAILED, NULL},
	{HTTP_ANSWERED, 503, 503, VERDICT_UNSURE, ERRCODE_SYSTEM_ERROR,
	STATUS_OUTAGE | STATUS_HOLDS_OTHERS | STATUS_OVERLOAD, FAILED, NULL},
	{HTTP_ANSWERED, 504, 504, VERDICT_UNSURE, ERRCODE_SYSTEM_ERROR,
	STATUS_OUTAGE | STATUS_HOLDS_OTHERS | STATUS_MAY_CONTINUE, FAILED, NULL},
	{HTTP_ANSWERED, 500, 599, VERDICT_UNSURE, ERRCODE_SYSTEM_ERROR,
	STATUS_HOLDS_OTHERS, FAILED, NULL},
	{HTTP_ANSWERED, INT_MIN, INT_MAX, VERDICT_UNSURE, ERRCODE_PROTOCOL_VIOLATION,
	STATUS_HOLDS_OTHERS, FAILED, NULL},

	{HTTP_NOT_BEGUN, 0, 0, VERDICT_UNREACHED, ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
	STATUS_OUTAGE, "the Mixpeek API was in trouble before the request could be sent", NULL},
	{HTTP_NOT_SENT, 0, 0, VERDICT_UNREACHED, ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
	STATUS_OUTAGE, "could not connect to the Mixpeek API", NULL},
	{HTTP_TLS_FAILED, 0, 0, VERDICT_UNREACHED, ERRCODE_SQLSERVER_REJECTED_ESTABLISHMENT_OF_SQLCONNECTION,
		STATUS_OUTAGE, "could not make a secure connection to the Mixpeek API",
	"Check the server's options base_url and ca_file."},
	{HTTP_NO_SOCKET, 0, 0, VERDICT_UNREACHED, ERRCODE_INSUFFICIENT_RESOURCES,
	STATUS_OURS, "there was no file descriptor for a connection to the Mixpeek API", NULL},
	{HTTP_TIMED_OUT, 0, 0, VERDICT_UNSURE, ERRCODE_CONNECTION_FAILURE,
	STATUS_OUTAGE | STATUS_MAY_CONTINUE, "Mixpeek API did not answer in time", PERHAPS_DONE},
	{HTTP_BROKEN, 0, 0, VERDICT_UNSURE, ERRCODE_CONNECTION_FAILURE,
	STATUS_OUTAGE | STATUS_MAY_CONTINUE, "lost the connection to the Mixpeek API", PERHAPS_DONE},
	{HTTP_TOO_LARGE, 0, 0, VERDICT_UNSURE, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
	0, "answer of the Mixpeek API is too large", PERHAPS_DONE},
	{HTTP_NO_ROOM, 0, 0, VERDICT_UNSURE, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
	STATUS_OURS | STATUS_MAY_CONTINUE, "there was no room for the answer of the Mixpeek API", PERHAPS_DONE},
	{HTTP_OUT_OF_MEMORY, 0, 0, VERDICT_UNSURE, ERRCODE_OUT_OF_MEMORY,
	STATUS_MAY_CONTINUE, "out of memory during a request to the Mixpeek API", PERHAPS_DONE},
};

const StatusMeaning *
status_meaning(HttpEnd end, int status)
{
	const StatusMeaning *meaning = meanings;

	while (meaning->end != end || (end == HTTP_ANSWERED && (status < meaning->first || status > meaning->last)))
		meaning++;
	return meaning;
}

bool
status_has(const HttpAnswer *answer, int flag)
{
	return (status_meaning(answer->end, answer->status)->flags & flag) != 0;
}
