/*-------------------------------------------------------------------------
 *
 * server.c
 *		Where the API is and with which key: foreign servers and user mappings.
 *
 * Options are checked by the wrapper's validator when they are defined, and again when they
 * are used: mixpeek.allow_http, which decides about base_url, may have changed.
 *
 * No error here shows a key's value.  If a key is among the options that are checked, the
 * statement, whose text has it, is kept out of the log.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <math.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "base/extension.h"
#include "base/guard.h"
#include "base/settings.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "remote/server.h"
#include "remote/url.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#define DEFAULT_BASE_URL		"https://api.mixpeek.com"
#define DEFAULT_CONNECT_TIMEOUT	10000
#define DEFAULT_REQUEST_TIMEOUT	30000
#define DEFAULT_MAX_CONNECTIONS	16
#define MAX_MAX_CONNECTIONS		1000
#define MAX_TIMEOUT_SECONDS		86400.0
#define MIN_REQUESTS_PER_MINUTE	0.01
#define MAX_REQUESTS_PER_MINUTE	1e9
#define MAX_API_KEY				8192	/* bytes */

/*
 * An option: the catalog that it belongs to, and the function that checks its value and stores
 * it in a MixpeekServer.
 */
typedef void (*OptionFunction) (MixpeekServer *server, const char *name, char *value);

typedef struct ServerOption
{
	const char *name;
	Oid			catalog;
	OptionFunction take;
} ServerOption;

PG_FUNCTION_INFO_V1(mixpeek_fdw_validator);

/* Keep the statement out of the log, as an option with a secret is being checked? */
static bool hide_statement = false;

/* Raise that an option's value is wrong; value is not shown if it is NULL. */
pg_noreturn static void
raise_bad_value(const char *name, const char *value, const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
			 value ? errmsg("invalid value for option \"%s\": \"%s\"", name, value) :
			 errmsg("invalid value for option \"%s\"", name),
			 errdetail("The value %s.", problem),
			 errhidestmt(hide_statement)));
}

static bool
is_visible_ascii(const char *text, bool with_spaces)
{
	for (const char *p = text; *p; p++)
		if (*p < (with_spaces ? ' ' : '!') || *p > '~')
			return false;
	return true;
}

/*
 * Options
 */

/* Raise an error if the URL would send the key over the network unencrypted, and that is not allowed. */
static void
check_plain_http(const char *url, bool plain, bool loopback)
{
	if (plain && !loopback && !mixpeek_allow_http)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"", "base_url", url),
				 errdetail("Plain http would send the API key unencrypted to another machine."),
				 errhint("Use https, or let a superuser set mixpeek.allow_http."),
				 errhidestmt(hide_statement)));
}

static void
trim_slashes(char *url)
{
	for (size_t len = strlen(url); len > 0 && url[len - 1] == '/'; len--)
		url[len - 1] = '\0';
}

/*
 * Drop the port of a URL if it is the scheme's default, and its leading zeros otherwise, in place.  host is where
 * the host begins.
 */
static void
trim_port(char *url, char *host)
{
	char	   *bracket = host[0] == '[' ? strchr(host, ']') : NULL;	/* of an IPv6 address */
	char	   *port = strchr(bracket ? bracket : host, ':');
	char	   *path = strchr(host, '/');
	char	   *number;

	if (port == NULL || (path && port > path))
		return;
	number = port + 1 + strspn(port + 1, "0");
	if (atoi(number) == 0 || atoi(number) == (strncmp(url, "https:", 6) == 0 ? 443 : 80))
		memmove(port, number + strspn(number, "0123456789"), strlen(number + strspn(number, "0123456789")) + 1);
	else
		memmove(port + 1, number, strlen(number) + 1);
}

/*
 * Bring a base_url into the form in which it is used and compared, in place: with scheme and host in
 * lower case, without the scheme's default port, without slashes at the end and without a last step "v1" of its
 * path.  The API's documentation has URLs with "/v1", and requests add it themselves.
 */
static char *
normalize_base_url(char *url)
{
	char	   *host = strstr(url, "://");
	char	   *path;
	size_t		len;

	if (host == NULL)
		return url;				/* of another wrapper, see read_pin() */
	host += 3;
	for (char *p = url; p < host || (*p && *p != '/' && *p != '%'); p++)
		*p = pg_ascii_tolower(*p);
	trim_port(url, host);
	path = strchr(host, '/');
	trim_slashes(url);
	len = strlen(url);
	if (path && len >= 3 && url + len - 3 >= path && strcmp(url + len - 3, "/v1") == 0)
		url[len - 3] = '\0';
	trim_slashes(url);
	return url;
}

/* Check a base_url and return it as it is used; changes value. */
static char *
parse_base_url(const char *name, char *value)
{
	bool		plain;
	bool		loopback;
	const char *problem;

	problem = url_check_base(value, &plain, &loopback);
	if (problem)
	{
		/* the text before an @ may be a password */
		raise_bad_value(name, strchr(value, '@') ? NULL : value, problem);
	}
	check_plain_http(value, plain, loopback);
	return normalize_base_url(value);
}

static void
take_base_url(MixpeekServer *server, const char *name, char *value)
{
	server->base_url = parse_base_url(name, value);
}

static void
take_pinned_url(MixpeekServer *server, const char *name, char *value)
{
	server->pinned_url = parse_base_url(name, value);
}

static void
take_namespace(MixpeekServer *server, const char *name, char *value)
{
	if (value[0] == '\0' || !is_visible_ascii(value, true) ||
		value[0] == ' ' || value[strlen(value) - 1] == ' ')
		raise_bad_value(name, value, "must consist of printable ASCII characters");
	server->namespace = value;
}

/* Return the milliseconds of a number of seconds, which may have a unit. */
static int
parse_timeout(const char *name, const char *value)
{
	double		seconds;
	const char *hint = NULL;

	if (!parse_real(value, &seconds, GUC_UNIT_S, &hint) ||
		!(seconds >= 0.001 && seconds <= MAX_TIMEOUT_SECONDS))
		raise_bad_value(name, value,
						"must be a number of seconds from 0.001 to 86400, or a number with a unit such as \"500ms\" or \"2min\"");
	return (int) rint(seconds * 1000);
}

static void
take_connect_timeout(MixpeekServer *server, const char *name, char *value)
{
	server->connect_timeout = parse_timeout(name, value);
}

static void
take_request_timeout(MixpeekServer *server, const char *name, char *value)
{
	server->request_timeout = parse_timeout(name, value);
}

static void
take_max_connections(MixpeekServer *server, const char *name, char *value)
{
	int			n;

	if (!parse_int(value, &n, 0, NULL) || n < 1 || n > MAX_MAX_CONNECTIONS)
		raise_bad_value(name, value, "must be an integer from 1 to 1000");
	server->max_connections = n;
}

static void
take_requests_per_minute(MixpeekServer *server, const char *name, char *value)
{
	double		n;

	if (!parse_real(value, &n, 0, NULL) ||
		!(n >= MIN_REQUESTS_PER_MINUTE && n <= MAX_REQUESTS_PER_MINUTE))
		raise_bad_value(name, value, "must be a number from 0.01 to 1000000000");
	server->requests_per_minute = n;
}

static void
take_ca_file(MixpeekServer *server, const char *name, char *value)
{
	if (!is_absolute_path(value))
		raise_bad_value(name, value, "must be an absolute path");
	server->ca_file = value;
}

static void
take_if_unfindable(MixpeekServer *server, const char *name, char *value)
{
	if (strcmp(value, "fail") != 0 && strcmp(value, "create") != 0)
		raise_bad_value(name, value, "must be \"fail\" or \"create\"");
	server->create_unfindable = strcmp(value, "create") == 0;
}

static void
take_contract(MixpeekServer *server, const char *name, char *value)
{
	static const char *const contracts[] = {
		[CONTRACT_2025_09] = "2025-09",[CONTRACT_2026_02] = "2026-02",[CONTRACT_2026_10] = "2026-10"
	};

	for (int i = CONTRACT_2025_09; i < lengthof(contracts); i++)
	{
		if (strcmp(value, contracts[i]) == 0)
			server->contract = i;
	}
	if (server->contract == CONTRACT_UNKNOWN)
		raise_bad_value(name, value, "must be \"2025-09\", \"2026-02\", or \"2026-10\"");
}

static void
take_api_key(MixpeekServer *server, const char *name, char *value)
{
	if (value[0] == '\0' || !is_visible_ascii(value, false))
		raise_bad_value(name, NULL, "must consist of visible ASCII characters");
	if (strlen(value) > MAX_API_KEY)
		raise_bad_value(name, NULL, "must not have more than 8192 characters");
	server->api_key = value;
}

static const ServerOption server_options[] =
{
	{"base_url", ForeignServerRelationId, take_base_url},
	{"namespace", ForeignServerRelationId, take_namespace},
	{"connect_timeout", ForeignServerRelationId, take_connect_timeout},
	{"request_timeout", ForeignServerRelationId, take_request_timeout},
	{"max_connections", ForeignServerRelationId, take_max_connections},
	{"requests_per_minute", ForeignServerRelationId, take_requests_per_minute},
	{"ca_file", ForeignServerRelationId, take_ca_file},
	{"if_unfindable", ForeignServerRelationId, take_if_unfindable},
	{"contract", ForeignServerRelationId, take_contract},
	{"api_key", UserMappingRelationId, take_api_key},
	{"base_url", UserMappingRelationId, take_pinned_url},
};

static const ServerOption *
find_option(const char *name, Oid catalog)
{
	for (int i = 0; i < (int) lengthof(server_options); i++)
		if (server_options[i].catalog == catalog &&
			strcmp(server_options[i].name, name) == 0)
			return &server_options[i];
	return NULL;
}

/* Raise that there is no such option; the hint lists those that there are. */
pg_noreturn static void
raise_unknown_option(const char *name, Oid catalog)
{
	StringInfoData valid;

	initStringInfo(&valid);
	for (int i = 0; i < (int) lengthof(server_options); i++)
		if (server_options[i].catalog == catalog)
			appendStringInfo(&valid, "%s%s", valid.len > 0 ? ", " : "",
							 server_options[i].name);
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("invalid option \"%s\"", name),
			 valid.len > 0 ?
			 errhint("Valid options in this context are: %s", valid.data) :
			 errhint("There are no valid options in this context."),
			 errhidestmt(hide_statement)));
}

/* Check the options and store them in server; raise an error for an unknown one. */
static void
take_options(MixpeekServer *server, List *options, Oid catalog)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *def = lfirst(cell);
		const ServerOption *option = find_option(def->defname, catalog);

		if (option == NULL)
			raise_unknown_option(def->defname, catalog);
		option->take(server, option->name, pstrdup(defGetString(def)));
	}
}

/*
 * The wrapper's validator
 */

/*
 * Check that the user may set ca_file.  The file is read with the rights of the database server,
 * and errors in its format could reveal a part of any file.
 */
static void
check_ca_file_privilege(void)
{
	if (!has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set option \"%s\"", "ca_file"),
				 errdetail("Only superusers and members of the role pg_read_server_files may set it.")));
}

/* Check whether an option resembles a key, even if it is misspelled or in the wrong place. */
static bool
has_secret(List *options)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		if (pg_strncasecmp(((DefElem *) lfirst(cell))->defname, "api", 3) == 0)
			return true;
	}
	return false;
}

/* Read key and base_url of a user mapping, which may be of another wrapper, without checks. */
static void
read_pin(List *options, MixpeekServer *server)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *def = lfirst(cell);

		if (strcmp(def->defname, "api_key") == 0)
			server->api_key = defGetString(def);
		else if (strcmp(def->defname, "base_url") == 0)
			server->pinned_url = normalize_base_url(pstrdup(defGetString(def)));
	}
}

/*
 * Check that no key loses its pin.  A server's owner may change its users' mappings, but must not
 * send a user's key to another base_url than that user's mapping says.  The validator does not
 * know which mapping the options are for, so check all mappings of other users that the current
 * user may change and that have this key.
 */
static void
check_pin_stays(const MixpeekServer *new)
{
	Relation	mappings = table_open(UserMappingRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(mappings, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while ((tuple = systable_getnext(scan)) != NULL)
	{
		Form_pg_user_mapping mapping = (Form_pg_user_mapping) GETSTRUCT(tuple);
		MixpeekServer old = {0};
		bool		isnull;
		Datum		options = heap_getattr(tuple, Anum_pg_user_mapping_umoptions,
										   RelationGetDescr(mappings), &isnull);

		if (isnull || !OidIsValid(mapping->umuser) || mapping->umuser == GetUserId() ||
			!COMPAT_OWNS_SERVER(mapping->umserver, GetUserId()))
			continue;
		read_pin(untransformRelOptions(options), &old);
		if (old.pinned_url && old.api_key && new->api_key && strcmp(old.api_key, new->api_key) == 0 &&
			(new->pinned_url == NULL || strcmp(old.pinned_url, new->pinned_url) != 0))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to change the option \"%s\" of another user's mapping", "base_url"),
					 errdetail("It says where that user's API key may be sent."),
					 errhidestmt(true)));
	}
	systable_endscan(scan);
	table_close(mappings, AccessShareLock);
}

Datum
mixpeek_fdw_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	MixpeekServer server = {0};

	hide_statement = catalog == UserMappingRelationId || has_secret(options);
	take_options(&server, options, catalog);
	if (server.ca_file)
		check_ca_file_privilege();

	/*
	 * A dump by a role that may not see a mapping's options has the mapping
	 * without them.  pg_dump sets check_function_bodies = off.
	 */
	if (catalog == UserMappingRelationId && server.api_key == NULL && check_function_bodies)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("option \"%s\" is required", "api_key"),
				 errhint("Write OPTIONS (api_key '...')."),
				 errhidestmt(true)));
	if (catalog == UserMappingRelationId && !superuser())
		check_pin_stays(&server);
	PG_RETURN_VOID();
}

/*
 * Reading a server
 */

/* Return the foreign server; raise an error if there is none, or if it is another wrapper's. */
static ForeignServer *
get_server(const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, true);
	ForeignDataWrapper *wrapper;

	if (server == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("server \"%s\" does not exist", name),
				 errhint("Create it with CREATE SERVER %s FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (namespace '...').",
						 quote_identifier(name))));

	/*
	 * options are valid if our validator has checked them; the wrapper's name
	 * says nothing
	 */
	wrapper = GetForeignDataWrapper(server->fdwid);
	if (!OidIsValid(wrapper->fdwvalidator) ||
		wrapper->fdwvalidator != extension_object(EXTENSION_FDW_VALIDATOR))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not a server of mixpeek_docs", name),
				 errdetail("Its foreign-data wrapper is \"%s\".", wrapper->fdwname)));
	return server;
}

static bool
has_mapping(Oid userid, Oid serverid)
{
	return SearchSysCacheExists2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(userid),
								 ObjectIdGetDatum(serverid));
}

/* Return the mapping of the user, or that of PUBLIC; raise an error if there is neither. */
static UserMapping *
get_mapping(const ForeignServer *server, Oid userid)
{
	char	   *user;

	if (has_mapping(userid, server->serverid) ||
		has_mapping(InvalidOid, server->serverid))
		return GetUserMapping(userid, server->serverid);
	user = GetUserNameFromId(userid, false);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("role \"%s\" has no API key for server \"%s\"",
					user, server->servername),
			 errhint("Set it with CREATE USER MAPPING FOR %s SERVER %s OPTIONS (api_key '...').",
					 quote_identifier(user), quote_identifier(server->servername))));
}

MixpeekServer *
mixpeek_server_get(const char *name, Oid userid)
{
	ForeignServer *foreign = get_server(name);
	MixpeekServer *server = palloc0(sizeof(MixpeekServer));
	AclResult	allowed = COMPAT_SERVER_ACLCHECK(foreign->serverid, userid, ACL_USAGE);

	if (allowed != ACLCHECK_OK)
		aclcheck_error(allowed, OBJECT_FOREIGN_SERVER, foreign->servername);
	server->serverid = foreign->serverid;
	server->userid = has_mapping(userid, foreign->serverid) ? userid : InvalidOid;
	server->name = foreign->servername;
	server->base_url = pstrdup(DEFAULT_BASE_URL);
	server->connect_timeout = DEFAULT_CONNECT_TIMEOUT;
	server->request_timeout = DEFAULT_REQUEST_TIMEOUT;
	server->max_connections = DEFAULT_MAX_CONNECTIONS;
	hide_statement = false;
	take_options(server, foreign->options, ForeignServerRelationId);
	take_options(server, get_mapping(foreign, userid)->options, UserMappingRelationId);
	if (server->api_key == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the user mapping for server \"%s\" has no API key", name),
				 errhint("Set it with ALTER USER MAPPING FOR %s SERVER %s OPTIONS (ADD api_key '...').",
						 OidIsValid(server->userid) ? quote_identifier(GetUserNameFromId(userid, false)) : "PUBLIC",
						 quote_identifier(name))));
	if (server->pinned_url && strcmp(server->pinned_url, server->base_url) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the API key for server \"%s\" may not be sent to \"%s\"", name, server->base_url),
				 errdetail("The user mapping's option base_url is \"%s\".", server->pinned_url),
				 errhint("If the server's base_url is right, change that of the user mapping.")));
	server->place = server_place(server->base_url, server->namespace);
	return server;
}

/*
 * Places
 */

int64
server_place(const char *base_url, const char *namespace)
{
	char	   *text = psprintf("%s\n%s", base_url, namespace ? namespace : "");
	pg_cryptohash_ctx *hasher = pg_cryptohash_create(PG_SHA256);
	uint8		hash[PG_SHA256_DIGEST_LENGTH];
	uint64		place = 0;

	if (pg_cryptohash_init(hasher) < 0 ||
		pg_cryptohash_update(hasher, (const uint8 *) text, strlen(text)) < 0 ||
		pg_cryptohash_final(hasher, hash, sizeof(hash)) < 0)
		elog(ERROR, "could not compute SHA-256 hash");
	pg_cryptohash_free(hasher);
	for (int i = 0; i < (int) sizeof(place); i++)
		place = place << 8 | hash[i];
	return (int64) place;
}

/* For guard_call(). */
typedef struct PlaceCall
{
	Oid			serverid;
	ServerPlace *place;
	MemoryContext context;
} PlaceCall;

/* Read where a server leads to.  Raises an error if its options are not valid. */
static void
read_place(void *arg)
{
	PlaceCall  *call = arg;
	ForeignServer *foreign = GetForeignServer(call->serverid);
	MixpeekServer server = {.base_url = pstrdup(DEFAULT_BASE_URL),.request_timeout = DEFAULT_REQUEST_TIMEOUT};
	MemoryContext old;

	hide_statement = false;
	take_options(&server, foreign->options, ForeignServerRelationId);
	old = MemoryContextSwitchTo(call->context);
	call->place = palloc(sizeof(ServerPlace));
	call->place->name = pstrdup(foreign->servername);
	call->place->base_url = pstrdup(server.base_url);
	call->place->namespace = server.namespace ? pstrdup(server.namespace) : NULL;
	call->place->request_timeout = server.request_timeout;
	call->place->place = server_place(server.base_url, server.namespace);
	MemoryContextSwitchTo(old);
}

/* Return the oids of all servers of a wrapper with our validator. */
static List *
list_servers(void)
{
	Relation	servers = table_open(ForeignServerRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(servers, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	List	   *oids = NIL;

	while ((tuple = systable_getnext(scan)) != NULL)
	{
		Form_pg_foreign_server server = (Form_pg_foreign_server) GETSTRUCT(tuple);
		Oid			validator = GetForeignDataWrapper(server->srvfdw)->fdwvalidator;

		if (OidIsValid(validator) && validator == extension_object(EXTENSION_FDW_VALIDATOR))
			oids = lappend_oid(oids, server->oid);
	}
	systable_endscan(scan);
	table_close(servers, AccessShareLock);
	return oids;
}

List *
server_list_places(void)
{
	List	   *places = NIL;
	ListCell   *lc;

	foreach(lc, list_servers())
	{
		PlaceCall	call = {lfirst_oid(lc), NULL, CurrentMemoryContext};

		if (guard_call(read_place, &call) == NULL)
			places = lappend(places, call.place);
	}
	return places;
}
