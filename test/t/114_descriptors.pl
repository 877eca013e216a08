# File descriptors: none for a connection, and a server that would take all of them.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Answers;
use MixpeekTest::Mirror;

my $node = answers_node();
my $key = $MixpeekTest::Answers::key;
my $worker = wait_for('the worker', \&worker_pid);
my $first_worker = $worker;
my $offset;

# No file descriptor for a connection

table_on('descriptors', api => { enrich => 'now' });
sub limit_descriptors { my ($n) = @_; system_or_bail('prlimit', '--pid', $worker, "--nofile=$n:"); return; }
my ($old_limit) = slurp_file("/proc/$worker/limits") =~ /^Max open files\s+(\d+)/m;
sql("INSERT INTO descriptors VALUES ('warm')");    # PostgreSQL has the files open that it needs
wait_for_states('descriptors', 'mirrored');
api('descriptors')->stop;                          # and there is no connection left
api('descriptors')->start;
$offset = -s $node->logfile;
limit_descriptors(10);
sql("INSERT INTO descriptors SELECT n FROM generate_series(1, 20) n");
wait_for('all to wait', sub {
	sql(q{SELECT count(*) FROM mixpeek.documents WHERE state <> 'mirrored'
		AND last_error =
		'there was no file descriptor for a connection to the Mixpeek API: Too many open files'}) eq '20';
});
pass('no file descriptor for a connection: last_error says so');
limit_descriptors($old_limit);
wait_for_states('descriptors', 'mirrored');
is(log_lines(qr/is not usable/, $offset), 0, 'no file descriptor for a connection: no server counts as down');
is(sql('SELECT max(attempts) FROM mixpeek.documents'), '0',
	'no file descriptor for a connection: no attempt is counted');
is_deeply([ @{ api('descriptors')->stats }{qw(creates duplicates)} ], [ 20, 0 ],
	'no file descriptor for a connection: all rows are mirrored in the end, once');
finish('descriptors');
is(worker_pid(), $first_worker, 'no file descriptor for a connection: the worker is not replaced');

# A server that hangs, with 1,000 connections

$node->append_conf('postgresql.conf', 'max_files_per_process = 150');
$node->restart;
table_on('hanging', max_connections => '1000', request_timeout => '3600');
table_on('lively', api => { enrich => 'now' });
sql("INSERT INTO hanging VALUES ('first')");
wait_for_states('hanging', 'mirrored');
$offset = -s $node->logfile;
$worker = worker_pid();
api('hanging')->faults({ kind => 'hang' });
sql('INSERT INTO hanging SELECT n FROM generate_series(1, 300) n');
wait_for('them to hang', sub { api('hanging')->stats->{in_flight} >= 20 });
sql('INSERT INTO lively SELECT n FROM generate_series(1, 100) n');
wait_for_states('lively', 'mirrored');
cmp_ok(api('hanging')->stats->{in_flight}, '<=', 50,
	'1,000 connections to a server that hangs: it gets some of the file descriptors only');
is(api('lively')->stats->{documents}, 100, '1,000 connections to a server that hangs: another server is served');
is(log_lines(qr/out of file descriptors|Too many open files|lively" is not usable/, $offset), 0,
	'1,000 connections to a server that hangs: the log does not complain');
is(worker_pid(), $worker, '1,000 connections to a server that hangs: the worker is not replaced');
sql('DROP TABLE hanging, lively');
is($node->safe_psql('postgres', 'SELECT 1'), '1', '1,000 connections to a server that hangs: the cluster is alive');
$node->stop;

done_testing();
