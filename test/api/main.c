/*
 * main.c
 *	  A local Mixpeek API server for tests, demos and benchmarks.  See README.md.
 */
#include "fault.h"
#include "limits.h"
#include "options.h"
#include "server.h"
#include "store.h"

int
main(int argc, char **argv)
{
	options_parse(argc, argv);
	limits_start();
	faults_start();
	store_start();
	server_run();
	return 0;
}
