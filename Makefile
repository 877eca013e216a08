# mixpeek_docs: built with PGXS. For another PostgreSQL than the first one in
# PATH: make PG_CONFIG=/path/to/pg_config
#
#   make, make install, make installcheck   as with any extension; also in a folder of its own, with
#                                           make -f /path/to/Makefile, which leaves this one as it is
#   make demo                               see it work; needs nothing but Debian and leaves nothing running
#   make test                               all tests; needs no running server and installs no extension
#   make chaos ROUNDS=40                    one of the tests for longer: kills, resets, failovers, and nothing lost or
#                                           doubled; SEED: what a run before has printed
#   test/format [--fix]                     checks, or fixes, the formatting of src/
#   test/versions PG_CONFIG...              all tests with each of several PostgreSQL
#   make bench                              measures it against libcurl and its peers, some 15 minutes; SAVE=1 keeps
#                                           table and pictures in docs/bench, BENCH="writer latency" asks some questions

# This folder, as seen from the one where make runs.
top := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))

EXTENSION = mixpeek_docs
MODULE_big = mixpeek_docs
DATA = $(notdir $(wildcard $(top)/mixpeek_docs--*.sql))
OBJS = $(patsubst $(top)/%.c,%.o,$(sort $(wildcard $(top)/src/*/*.c)))
PGFILEDESC = "mixpeek_docs - mirrors rows of tables as documents of the Mixpeek API"

PG_CONFIG ?= pg_config
CURL_CONFIG ?= curl-config
EXTVERSION = $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(top)/mixpeek_docs.control)
PG_CPPFLAGS = -I$(top)/src -DMIXPEEK_VERSION='"$(EXTVERSION)"' $(shell $(CURL_CONFIG) --cflags)
SHLIB_LINK = $(shell $(CURL_CONFIG) --libs) -Wl,--version-script=$(top)/mixpeek_docs.map
# What -Wextra adds that PostgreSQL's own headers and macros do not stand is left out, and clang's opinion of the
# options and headers of a PostgreSQL that gcc has built.
ifeq ($(WERROR),1)
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wno-clobbered -Werror
ifneq ($(findstring clang,$(CC)),)
PG_CFLAGS += -Wno-unknown-warning-option -Wno-ignored-optimization-argument -Wno-ignored-attributes
endif
endif
# For the tests of the tests: see Weakness in src/base/settings.h.
ifeq ($(WEAKEN),1)
PG_CPPFLAGS += -DMIXPEEK_WEAKEN
endif

# The order counts: the first ones drop the extension that they create, the last ones leave it.
REGRESS = template trigger definitions unmirrored mirror views privileges door api server
# What a test prints must not depend on the cluster's locale.
REGRESS_OPTS = --encoding=UTF8 --no-locale
ISOLATION = $(patsubst $(top)/test/specs/%.spec,%,$(sort $(wildcard $(top)/test/specs/*.spec)))
ISOLATION_OPTS = --inputdir=$(top)/test
# The TAP tests start servers of their own, with the extension that is installed.
# Without what they need (test/setup installs it) installcheck leaves them out.
ifeq ($(shell test "$$(id -u)" != 0 && perl -MIPC::Run -e 1 2>/dev/null && test -x $(top)/test/api/mixpeek_server && echo yes),yes)
TAP_TESTS = 1
endif
PROVE_TESTS = test/t/*.pl
EXTRA_CLEAN = results regression.diffs regression.out

.PHONY: all demo test chaos bench clean-test clean-folders no-libcurl
all:

# These two install the packages that are missing before they build anything.
demo test:
	@PG_CONFIG='$(PG_CONFIG)' CURL_CONFIG='$(CURL_CONFIG)' $(top)/$@/run

# ROUNDS: some 10 s each (40 without it); SEED: of the random choices. See test/t/020_chaos.pl.
chaos:
	@PG_CONFIG='$(PG_CONFIG)' CURL_CONFIG='$(CURL_CONFIG)' CHAOS_ROUNDS='$(or $(ROUNDS),40)' CHAOS_SEED='$(SEED)' $(top)/test/run test/t/020_chaos.pl

# BENCH: some of the questions (the files in test/bench/questions); SAVE=1: into docs/bench; SCALE, RUNS: see test/bench/run
bench:
	@PG_CONFIG='$(PG_CONFIG)' CURL_CONFIG='$(CURL_CONFIG)' SCALE='$(SCALE)' RUNS='$(RUNS)' SAVE='$(SAVE)' $(top)/test/bench/run $(BENCH)

PGXS := $(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null))
ifneq ($(PGXS),)
include $(PGXS)

PROVE_FLAGS += -I test/perl

# PGXS has set VPATH, with which make takes an object that an earlier build has left in the source folder for
# one of this build, whose linker does not find it. Only sources are looked for there.
override VPATH :=
vpath %.c $(top)
vpath %.control $(top)

# PGXS knows no dependencies on headers, and a whole build takes seconds.
objects = $(OBJS) $(OBJS:.o=.bc)
libcurl = $(if $(shell $(CURL_CONFIG) --version 2>/dev/null),,no-libcurl)
folders = $(sort $(dir $(OBJS)))
$(objects): $(wildcard $(top)/src/*/*.h) | $(folders) $(libcurl)
$(folders):
	@mkdir -p $@
$(shlib): $(top)/mixpeek_docs.map

no-libcurl:
	@echo "There is no $(CURL_CONFIG): install libcurl's development files (Debian: libcurl4-openssl-dev), or set CURL_CONFIG." >&2; exit 1

clean: clean-test clean-folders
# Objects and, where they are not those of the sources, their folders.
clean-folders:
	@rm -f $(objects)
	@rmdir $(folders) src 2>/dev/null || :
clean-test:
	@for d in test/api test/bench; do if test -f $$d/Makefile; then $(MAKE) -C $$d clean; fi; done
else
all install uninstall installcheck clean:
	@echo "$(PG_CONFIG) --pgxs names no file: install the server's development files (Debian 12: postgresql-server-dev-15), or set PG_CONFIG." >&2; exit 1
endif

# A variable's value, for test/run.
print-%:
	@echo $($*)
