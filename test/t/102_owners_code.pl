# Functions of a table's owner, in policies and triggers, that sleep, loop, swallow cancellation, use up memory, or end
# their process: they must not harm other owners. See Trap.pm.
use strict;
use warnings;
use MixpeekTest::Attack;
use MixpeekTest::Trap;
use Test::More;

attack_cluster();

# Time

my @places = ('policy', 'cast', 'a check', "an index' expression", "an index' condition", 'an exclusion constraint',
	'a generated column', "the write-back column's domain",
	"the key's domain", 'before', 'after', 'a statement trigger', 'deferred');

trap('a function that sleeps', $_, 'PERFORM pg_catalog.pg_sleep(1000000);') foreach @places;
trap('a function that loops', $_, 'LOOP END LOOP;') foreach qw(policy before deferred);
trap('a function that swallows its cancellation', $_,
	'LOOP BEGIN PERFORM pg_catalog.pg_sleep(1000000); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP;')
  foreach qw(policy before), "the key's domain";
trap('a function that swallows every error', $_, 'LOOP BEGIN LOOP BEGIN PERFORM pg_catalog.pg_sleep(0.1); EXCEPTION
	WHEN OTHERS OR query_canceled THEN NULL; END; END LOOP;
	EXCEPTION WHEN OTHERS OR query_canceled OR assert_failure THEN NULL; END; END LOOP;') foreach qw(policy deferred);
trap('a function that sets its own limit of time', 'policy',
	q{SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0;
		PERFORM pg_catalog.pg_sleep(1000000);});
trap('a function that leaves limits of time behind', $_, q{
	PERFORM pg_catalog.set_config(s, '1', false)
		FROM pg_catalog.unnest('{statement_timeout,lock_timeout,
			idle_in_transaction_session_timeout,idle_session_timeout,deadlock_timeout,
			tcp_user_timeout,client_connection_check_interval}'::text[]) s
	WHERE EXISTS (SELECT FROM pg_catalog.pg_settings WHERE name = s AND context = 'user');},
		expect => 'mirrored|failed|failed,mirrored') foreach qw(policy before);
trap('a function that sets transaction_timeout', $_, q{
	IF pg_catalog.current_setting('server_version_num')::int >= 170000 THEN
		PERFORM pg_catalog.set_config('transaction_timeout', '1', false); END IF; PERFORM pg_catalog.pg_sleep(0.1);})
			foreach qw(policy before);
trap('a function that waits for a lock that is never given', 'policy',
	'LOCK TABLE attacker.aside IN ACCESS EXCLUSIVE MODE;',
	then => sub {
		my $holder = session('attacker');
		$holder->do('BEGIN; LOCK TABLE attacker.aside');
		sql_as('attacker', "UPDATE attacker.t SET v = 'x'");
	});
trap('a function that waits for an advisory lock of its owner', 'policy', 'PERFORM pg_catalog.pg_advisory_lock(1);',
	then => sub {
		my $holder = session('attacker');
		$holder->do('SELECT pg_advisory_lock(1)');
		sql_as('attacker', "UPDATE attacker.t SET v = 'x'");
	});
trap('a regular expression that does not end', 'policy',
	q{PERFORM pg_catalog.repeat('a', 40) || 'b' ~ '^(a+)+$' AND pg_catalog.regexp_match(pg_catalog.repeat('ab', 100),
		'((a*b*)*)*c') IS NULL;});
trap('a query that does not end', 'policy',
	'PERFORM pg_catalog.count(*) FROM pg_catalog.generate_series(1, 1000000000) a, pg_catalog.generate_series(1,
		1000000000) b;');
trap('a query with parallel workers', 'policy',
	q{SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
		SET max_parallel_workers_per_gather = 8;
	PERFORM pg_catalog.count(*) FROM pg_catalog.pg_attribute a, pg_catalog.pg_attribute b, pg_catalog.pg_attribute c;});
trap('a recursion that does not end', $_, q{PERFORM attacker.trap();}, expect => 'failed|mirrored|pending')
	foreach qw(policy before);
trap('a recursive query that does not end', 'policy', 'PERFORM pg_catalog.count(*) FROM (WITH RECURSIVE r AS (SELECT 1
	UNION ALL SELECT 1 FROM r) TABLE r) x;');

# Memory, files, locks

my $grow = q{FOR i IN 1 .. 100 LOOP kept := pg_catalog.array_append(kept, pg_catalog.repeat(pg_catalog.chr(64 + i %
	20), 100000000)); END LOOP;};
trap('a function that eats memory', $_, $grow, declare => q{DECLARE kept text[] := '{}';}, then => \&watch_memory)
	foreach qw(policy before);
trap('a function that eats memory and swallows the error', 'policy', q{
	LOOP BEGIN FOR i IN 1 .. 40 LOOP kept := pg_catalog.array_append(kept, pg_catalog.repeat('x', 50000000)); END
		LOOP; EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP;},
	declare => q{DECLARE kept text[] := '{}';}, then => \&watch_memory);
trap('a function that asks for all memory for its sorts', 'policy',
	q{SET work_mem = '2000GB'; SET hash_mem_multiplier = 1000; SET maintenance_work_mem = '2000GB';
		SET temp_buffers = '1000GB';
	PERFORM pg_catalog.count(*) FROM (SELECT pg_catalog.repeat('x', 1000) || g AS x FROM pg_catalog.generate_series(1,
		100000000) g ORDER BY 1) x;}, then => \&watch_memory);
trap('a function that fills temporary files', 'policy',
	q{SET work_mem = 64; PERFORM pg_catalog.count(*) FROM (SELECT g FROM pg_catalog.generate_series(1, 100000000) g
		ORDER BY pg_catalog.random()) x;});
trap('a function that takes every lock there is', $_,
	q{PERFORM pg_catalog.pg_advisory_lock(g) FROM pg_catalog.generate_series(1, 10000000) g;},
	attack => [ worker => 'any' ]) foreach qw(policy before);
trap('a function with a thousand subtransactions', $_,
	q{FOR i IN 1 .. 1000 LOOP BEGIN INSERT INTO attacker.aside VALUES (i); EXCEPTION WHEN OTHERS THEN NULL; END; END
		LOOP;}, expect => 'mirrored|failed') foreach qw(policy before);
trap('a function that makes large objects', 'policy',
	q{PERFORM pg_catalog.lo_from_bytea(0, pg_catalog.decode(pg_catalog.repeat('00', 100000), 'hex'))
		FROM pg_catalog.generate_series(1, 100);}, expect => 'mirrored|failed');

# Memory is filled in pieces that get smaller, and errors are caught, so none is left for what comes after. Settings
# outlive the function.
my $brim = q{
	FOREACH size IN ARRAY '{20000000,1000000,100000,10000,1000,100}'::int[] LOOP
		BEGIN
			FOR i IN 1 .. 500 LOOP
				BRIM;
				n := n + 1;
			END LOOP;
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
	END LOOP;};
my $to_settings =
	$brim =~ s/BRIM/PERFORM pg_catalog.set_config('attacker.x' || n, pg_catalog.repeat('x', size), false)/r;
my $to_values = $brim =~ s/BRIM/kept := pg_catalog.array_append(kept, pg_catalog.repeat('x', size))/r;
my %brims = (
	'and returns' => '',
	'and raises an error' =>
		q{RAISE EXCEPTION '%', pg_catalog.repeat('y', 1000000) USING DETAIL = pg_catalog.repeat('z', 1000000);},
	'and recurses' => 'PERFORM attacker.deep(1);',
	'and writes' => q{INSERT INTO attacker.aside SELECT g, pg_catalog.repeat(pg_catalog.md5(g::text), 1000)
		FROM pg_catalog.generate_series(1, 200) g;},
	'and sends notices' => q{PERFORM pg_catalog.pg_notify('x', g::text || pg_catalog.repeat('x', 7000))
		FROM pg_catalog.generate_series(1, 200) g;},
	'and locks' => q{PERFORM pg_catalog.pg_advisory_lock(g) FROM pg_catalog.generate_series(1, 1000) g;},
	'and opens files and relations' => q{PERFORM pg_catalog.pg_relation_size(oid), pg_catalog.pg_get_indexdef(oid)
		FROM pg_catalog.pg_class;},
	'and ends its process' => 'PERFORM pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid());
		PERFORM pg_catalog.pg_sleep(1);',
	'and is cancelled' => 'PERFORM pg_catalog.pg_sleep(100);',
	'and makes tables' => q{FOR i IN 1 .. 50 LOOP
		EXECUTE 'CREATE TABLE attacker.more' || pg_catalog.nextval('attacker.ran') ||
			' (id int PRIMARY KEY, v text UNIQUE)'; END LOOP;});
my $deep = 'CREATE FUNCTION attacker.deep(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
	RETURN attacker.deep($1 + 1) + 1; EXCEPTION WHEN OTHERS THEN RETURN 0; END $$';
foreach my $name (sort keys %brims)
{
	foreach my $place (qw(policy before))
	{
		my $declare = q{DECLARE n int := 0; size int; kept text[] := '{}';};
		trap("a function that fills memory with settings $name", $place, $to_settings . $brims{$name},
			declare => $declare, setup => $deep);
		trap("a function that fills memory with values $name", $place, $to_values . $brims{$name},
			declare => $declare, setup => $deep);
	}
}
trap('a function that fills memory with settings when the transaction ends', 'deferred', $to_settings,
	declare => q{DECLARE n int := 0; size int;});

# Watch the memory of the agents and the worker; an agent's limit is 256 MB above what it begins with.
sub watch_memory
{
	my $most = 0;
	my $watched = 0;

	wait_for('the function to be done for', sub {
		my @agents = (agent_pids('attacker'), worker_pid());
		foreach my $pid (grep { $_ } @agents)
		{
			my $status = eval { PostgreSQL::Test::Utils::slurp_file("/proc/$pid/status") } // '';
			my ($kb) = $status =~ /^VmHWM:\s+(\d+)/m;
			$most = $kb / 1024 if ($kb // 0) / 1024 > $most;
		}
		return ++$watched > 30;
	});
	cmp_ok($most, '<', 1024, 'no process has taken a gigabyte');
	return;
}

# Ends of the process

trap('a function that terminates its own process', $_,
	'PERFORM pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid()); PERFORM pg_catalog.pg_sleep(10);')
	foreach qw(policy before deferred);
trap('a function that cancels its own process', $_,
	'PERFORM pg_catalog.pg_cancel_backend(pg_catalog.pg_backend_pid()); PERFORM pg_catalog.pg_sleep(10);',
	expect => 'mirrored|failed') foreach qw(policy before);
trap('a function that terminates all processes of its owner', $_,
	'PERFORM pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE usename = current_user
		AND pid <> pg_catalog.pg_backend_pid();',
	expect => 'mirrored') foreach qw(policy before);
trap('a function that sets exit_on_error and fails', $_,
	q{PERFORM pg_catalog.set_config('exit_on_error', 'on', false); RAISE EXCEPTION 'x';}) foreach @places;
trap('a function that leaves exit_on_error behind', $_,
	q{PERFORM pg_catalog.set_config('exit_on_error', 'on', false);}) foreach qw(policy before);
foreach my $code (qw(57014 57P01 57P02 57P03 57P04 XX000 XX001 XX002 53100 53200 53300 40001 40P01 55P03 25P02 25006
	22P02 00000 P0004 58030 08006 0A000))
{
	next if $code eq '00000';
	trap("a function that fails with SQLSTATE $code", 'policy',
		"RAISE EXCEPTION USING ERRCODE = '$code', MESSAGE = 'terminating connection due to administrator command';",
		expect => 'failed|pending');
}
trap('a function that fails as a terminated process does', 'before',
	"RAISE EXCEPTION USING ERRCODE = '57P01', MESSAGE = 'terminating connection due to administrator command';",
	expect => 'mirrored');
trap('a function that fails when the transaction ends', 'deferred', "RAISE EXCEPTION 'at commit';",
	expect => 'mirrored');
trap('a function that fails with a text of 100 MB', $_,
	q{RAISE EXCEPTION '%', pg_catalog.repeat('x', 100000000) 
		USING DETAIL = pg_catalog.repeat('y', 100000000), HINT = 'z';}, expect => 'failed|mirrored')
  foreach qw(policy before);
trap('a function that fails with controls and broken lines in its text', 'policy',
	q{RAISE EXCEPTION E'a\nb\u202e\u009b FATAL:  x' USING DETAIL = E'\nPANIC:  y';}, expect => 'failed', then => sub {
	wait_for_states('attacker.t', 'failed');
	unlike(log_since(), qr/^PANIC:|^FATAL:|^b/m, "the error's text begins no line of the log") });
trap('a function that raises a hundred thousand notices', 'policy',
	q{FOR i IN 1 .. 100000 LOOP RAISE NOTICE 'x %', i; RAISE DEBUG 'y'; END LOOP;}, expect => 'mirrored|failed');

attacks_end();
