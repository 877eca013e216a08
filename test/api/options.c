/*
 * options.c
 *	  The command line; the traits' part of it is made from their table.
 */
#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "traits.h"

Options		options = {.contract = CONTRACT_2025_09,.seed = 1};

enum
{
	OPT_PORT = 256, OPT_PORT_FILE, OPT_CONTRACT, OPT_API_KEY, OPT_NAMESPACE, OPT_COLLECTION,
	OPT_TLS_CERT, OPT_TLS_KEY, OPT_RATE, OPT_BURST, OPT_CONCURRENCY, OPT_ENRICH, OPT_LATENCY,
	OPT_JOURNAL, OPT_BODIES, OPT_VECTOR_INDEX, OPT_RECORD, OPT_SEED, OPT_TRAITS, OPT_HELP,
	OPT_TRAIT					/* and the following: the traits, in their order */
};

static const struct option own_options[] = {
	{"port", required_argument, NULL, OPT_PORT},
	{"port-file", required_argument, NULL, OPT_PORT_FILE},
	{"contract", required_argument, NULL, OPT_CONTRACT},
	{"api-key", required_argument, NULL, OPT_API_KEY},
	{"namespace", required_argument, NULL, OPT_NAMESPACE},
	{"collection", required_argument, NULL, OPT_COLLECTION},
	{"tls-cert", required_argument, NULL, OPT_TLS_CERT},
	{"tls-key", required_argument, NULL, OPT_TLS_KEY},
	{"rate", required_argument, NULL, OPT_RATE},
	{"burst", required_argument, NULL, OPT_BURST},
	{"concurrency", required_argument, NULL, OPT_CONCURRENCY},
	{"enrich", required_argument, NULL, OPT_ENRICH},
	{"latency", required_argument, NULL, OPT_LATENCY},
	{"journal", required_argument, NULL, OPT_JOURNAL},
	{"bodies", required_argument, NULL, OPT_BODIES},
	{"vector-index", required_argument, NULL, OPT_VECTOR_INDEX},
	{"record", no_argument, NULL, OPT_RECORD},
	{"seed", required_argument, NULL, OPT_SEED},
	{"traits", no_argument, NULL, OPT_TRAITS},
	{"help", no_argument, NULL, OPT_HELP},
};

#define OWN_OPTIONS (sizeof(own_options) / sizeof(own_options[0]))

static const char *const contract_names[CONTRACTS] = {"2025-09", "2026-02", "2026-10"};

static const char usage[] =
"usage: mixpeek_server [OPTION]...\n"
"  --port N                 port on 127.0.0.1 (0: any free one, the default)\n"
"  --port-file PATH         write the port there once listening\n"
"  --contract VERSION       2025-09 (default), 2026-02 or 2026-10\n"
"  --api-key KEY            a key that is let in (repeatable; default sk_test)\n"
"  --namespace NAME         an existing namespace (repeatable; default: any)\n"
"  --collection NAME        an existing collection (repeatable; default: any)\n"
"  --tls-cert FILE --tls-key FILE   speak HTTPS\n"
"  --rate N --burst N       requests a minute and key, and its bucket's size\n"
"  --concurrency N          requests at once and key\n"
"  --enrich WHEN            now (default), never or later:SECONDS\n"
"  --latency MS             delay of every answer\n"
"  --journal FILE           keep the documents there through kill -9\n"
"  --bodies on|off          off: keep only the documents' markers\n"
"  --vector-index NAME:DIMENSIONS   a vector index of every collection (repeatable)\n"
"  --record                 keep the last 1000 requests for /_control/requests\n"
"  --seed N                 seed of the faults' probabilities\n"
"  --traits                 print README's table of traits\n"
"Traits, whose defaults depend on the contract:\n";

static void
quit(const char *message, const char *value)
{
	fprintf(stderr, "mixpeek_server: %s \"%s\"; --help lists the options\n", message, value);
	exit(2);
}

static double
number(const char *text)
{
	char	   *end;
	double		value = strtod(text, &end);

	if (end == text || *end || value < 0)
		quit("not a number:", text);
	return value;
}

/* Which of two words it is: false for the first, true for the second. */
static bool
choice(const char *text, const char *first, const char *second)
{
	if (strcmp(text, first) != 0 && strcmp(text, second) != 0)
		quit("unknown choice", text);
	return strcmp(text, second) == 0;
}

static void
names_add(Names *names, const char *name)
{
	names->items = realloc(names->items, (names->count + 1) * sizeof(char *));
	names->items[names->count++] = name;
}

/* Whether the name is one of them, or any name will do. */
bool
names_allow(const Names *names, const char *name)
{
	if (!names->count)
		return true;
	for (int i = 0; i < names->count; i++)
		if (strcmp(names->items[i], name) == 0)
			return true;
	return false;
}

/* The contract's place among the defaults of the traits. */
int
contract_index(void)
{
	return options.contract == CONTRACT_2025_09 ? 0 : options.contract == CONTRACT_2026_02 ? 1 : 2;
}

/* Be that contract from now on; false if there is none of that name. */
bool
options_set_contract(const char *text)
{
	for (int i = 0; i < CONTRACTS; i++)
		if (strcmp(contract_names[i], text) == 0)
		{
			options.contract = 1 << i;
			traits_use_contract();
			return true;
		}
	return false;
}

/* now | never | later:SECONDS; false if it is none of them. */
bool
options_set_enrich(const char *text)
{
	char	   *end;

	if (strcmp(text, "now") == 0)
		options.enrich = ENRICH_NOW;
	else if (strcmp(text, "never") == 0)
		options.enrich = ENRICH_NEVER;
	else if (strncmp(text, "later:", 6) == 0)
	{
		double		delay = strtod(text + 6, &end);

		if (end == text + 6 || *end || delay < 0)
			return false;
		options.enrich = ENRICH_LATER;
		options.enrich_delay = delay;
	}
	else
		return false;
	return true;
}

static void
set_option(int option, const char *value)
{
	switch (option)
	{
		case OPT_PORT: options.port = number(value); break;
		case OPT_PORT_FILE: options.port_file = value; break;
		case OPT_CONTRACT:
			if (!options_set_contract(value))
				quit("unknown choice", value);
			break;
		case OPT_API_KEY: names_add(&options.api_keys, value); break;
		case OPT_NAMESPACE: names_add(&options.namespaces, value); break;
		case OPT_COLLECTION: names_add(&options.collections, value); break;
		case OPT_TLS_CERT: options.tls_cert = value; break;
		case OPT_TLS_KEY: options.tls_key = value; break;
		case OPT_RATE: options.rate = number(value); break;
		case OPT_BURST: options.burst = number(value); break;
		case OPT_CONCURRENCY: options.concurrency = number(value); break;
		case OPT_LATENCY: options.latency = number(value); break;
		case OPT_JOURNAL: options.journal = value; break;
		case OPT_BODIES: options.bodies_off = choice(value, "on", "off"); break;
		case OPT_VECTOR_INDEX:
			if (!strchr(value, ':'))
				quit("not NAME:DIMENSIONS:", value);
			names_add(&options.vector_indexes, value);
			break;
		case OPT_RECORD: options.record = true; break;
		case OPT_SEED: options.seed = strtoull(value, NULL, 10); break;
		case OPT_ENRICH:
			if (!options_set_enrich(value))
				quit("unknown choice", value);
			break;
		case OPT_TRAITS: traits_print_table(stdout); exit(0);
		case OPT_HELP: fputs(usage, stdout); traits_print_help(stdout); exit(0);
		default:
			if (option < OPT_TRAIT)
				quit("cannot read the", "command line");
			if (!trait_set(option - OPT_TRAIT, value))
				quit("unknown choice", value);
	}
}

/* The options of this file and one for each trait, for getopt_long(). */
static struct option *
all_options(void)
{
	struct option *all = allocate((OWN_OPTIONS + TRAITS + 1) * sizeof(struct option));

	memcpy(all, own_options, sizeof(own_options));
	for (int i = 0; i < TRAITS; i++)
	{
		char	   *name = copy_bytes(trait_name(i), strlen(trait_name(i)));

		for (char *c = name; *c; c++)
			if (*c == '_')
				*c = '-';
		all[OWN_OPTIONS + i] = (struct option) {name, required_argument, NULL, OPT_TRAIT + i};
	}
	return all;
}

void
options_parse(int argc, char **argv)
{
	struct option *all = all_options();
	int			option;

	while ((option = getopt_long(argc, argv, "", all, NULL)) != -1)
		set_option(option, optarg);
	traits_use_contract();
	if (optind < argc)
		quit("unexpected argument", argv[optind]);
	if (!options.api_keys.count)
		names_add(&options.api_keys, "sk_test");
	if (!options.tls_cert != !options.tls_key)
		quit("TLS needs both", "--tls-cert and --tls-key");
}
