/*
 * options.h
 *	  What the server was told, on the command line or by /_control/config;
 *	  traits.h has what the real service may do one way or another.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

typedef enum Contract
{
	CONTRACT_2025_09 = 1, CONTRACT_2026_02 = 2, CONTRACT_2026_10 = 4
} Contract;

#define CONTRACTS 3

typedef enum EnrichMode
{
	ENRICH_NOW, ENRICH_NEVER, ENRICH_LATER
} EnrichMode;

typedef struct Names
{
	const char **items;
	int			count;
} Names;

typedef struct Options
{
	int			port;
	const char *port_file;
	Contract	contract;
	Names		api_keys;
	Names		namespaces;		/* none: any */
	Names		collections;	/* none: any */
	Names		vector_indexes; /* NAME:DIMENSIONS, of every collection; none: any vector is taken */
	const char *tls_cert;
	const char *tls_key;
	double		rate;			/* requests a minute and key; 0: no limit */
	double		burst;			/* 0: a third of the rate */
	long		concurrency;	/* requests at once and key; 0: no limit */
	EnrichMode	enrich;
	double		enrich_delay;	/* seconds, for ENRICH_LATER */
	long		latency;		/* ms */
	const char *journal;
	bool		bodies_off;		/* of each document keep the marker only */
	bool		record;
	uint64_t	seed;
} Options;

extern Options options;

extern void options_parse(int argc, char **argv);
extern bool options_set_contract(const char *text);
extern bool options_set_enrich(const char *text);
extern int	contract_index(void);
extern bool names_allow(const Names *names, const char *name);

#endif
