# The launcher and its workers: when they come and go; and statements that do not wait for them.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use MixpeekTest;
use MixpeekTest::Mirror;
use MixpeekTest::Worker;

my ($node, $api) = worker_node();

# Extensions and databases that come and go

is(sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs launcher'}), '1',
	'one launcher runs');
wait_for_no_worker('postgres');
pass('no worker stays in a database without the extension');
set_up('postgres');
my $first = wait_for_worker('postgres');
ok($first, 'CREATE EXTENSION brings a worker');
sql("INSERT INTO t VALUES (1, 'x')");
settle();
is(there('postgres'), '1 x', 'the first worker mirrors a row');
sql('CREATE DATABASE other');
wait_for_no_worker('other');
sql('BEGIN; CREATE EXTENSION mixpeek_docs; ROLLBACK', 'other');
set_up('other');
wait_for_worker('other');
sql("INSERT INTO t VALUES (1, 'other')", 'other');
settle('other');
is(there('other'), '1 other', 'a database created at run time is mirrored');
is(worker('postgres'), $first, 'a database created at run time: the other worker is not replaced');
sql("DROP EXTENSION mixpeek_docs CASCADE; INSERT INTO t VALUES (2, 'not mirrored')", 'other');
wait_for_no_worker('other');
pass('DROP EXTENSION ends the worker');
sql('DROP TABLE t', 'other');
set_up('other');
wait_for_worker('other');
sql("INSERT INTO t VALUES (7, 'again')", 'other');
settle('other');
like(there('other'), qr/7 again/, 'CREATE EXTENSION after DROP EXTENSION brings a worker again');

# Statements do not wait for a request that hangs: its answer would not come for a minute.

sub does_not_wait
{
	my ($name, $statement, $database) = @_;
	my $start = time();
	sql($statement, $database);
	cmp_ok(time() - $start, '<', 15, "$name does not wait for the worker");
	wait_for('its request to end', sub { $api->stats->{in_flight} == 0 });
	return;
}

hang('other', 10);
does_not_wait('CREATE DATABASE ... TEMPLATE', 'CREATE DATABASE copy TEMPLATE other');
wait_for_worker('other');
pass('after CREATE DATABASE ... TEMPLATE a worker runs in the template');
$api->faults();
sql("SELECT mixpeek.unmirror('t'); TRUNCATE t; SELECT mixpeek.mirror('t', 'other')", 'other');
hang('other', 11);
does_not_wait('ALTER DATABASE ... RENAME', 'ALTER DATABASE other RENAME TO renamed');
wait_for_worker('renamed');
pass('after ALTER DATABASE ... RENAME a worker runs under the new name');
$api->faults();
sql("SELECT mixpeek.unmirror('t'); TRUNCATE t; SELECT mixpeek.mirror('t', 'other')", 'renamed');
hang('renamed', 12);
does_not_wait('DROP EXTENSION', 'DROP EXTENSION mixpeek_docs CASCADE', 'renamed');
wait_for_no_worker('renamed');
$api->faults();
sql('DROP TABLE t', 'renamed');
set_up('renamed');
hang('renamed', 13);
does_not_wait('DROP DATABASE', 'DROP DATABASE renamed');
sql('DROP DATABASE copy');
is(sql("SELECT string_agg(datname, ' ') FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker'"),
	'postgres', 'after DROP DATABASE one worker is left');
$api->faults();
is(worker('postgres'), $first, 'after DROP DATABASE the first worker is left');

done_testing();
