# Workers and servers that are ended with a request under way: SIGTERM, a fast shutdown, kill -9.
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
set_up('postgres');
wait_for_worker('postgres');
sql("INSERT INTO t VALUES (1, 'x')");
settle();

my %before = (kind => 'hang');
my %after = (kind => 'delay', ms => 600000, when => 'after');

# SIGTERM

create_server($node, 'patient', $api, request_timeout => '60');
my @ends;
foreach my $try (1 .. 2)
{
	sql("CREATE TABLE ended_$try (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('ended_$try', 'ended',
		server => 'patient')");
	$api->reset;
	$api->faults({ kind => 'hang', body => 'hanging' });
	sql("INSERT INTO ended_$try VALUES (1, 'hanging')");
	wait_for('the request to be under way', sub { $api->stats->{faults} == 1 });
	my $pid = worker('postgres');
	my $start = time();
	kill('TERM', $pid);
	wait_for('the worker to end', sub { !is_alive($pid) });
	push @ends, time() - $start;
	$api->faults();
	sql("DROP TABLE ended_$try");
	isnt(wait_for_worker('postgres'), $pid, 'after SIGTERM a new worker comes');
}
cmp_ok((sort { $a <=> $b } @ends)[0], '<', 1, 'SIGTERM ends a worker within a second, with a request under way');
sql("INSERT INTO t VALUES (20, 'after it')");
settle();
like(there('postgres'), qr/20 after it/, 'the new worker after SIGTERM mirrors a row');

# Fast shutdown: a document whose request had no answer is looked up when the server runs again.

hang_for_the_next(21);
my $offset = -s $node->logfile;
$node->stop('fast');
my $log = slurp_file($node->logfile, $offset);
my ($asked) = $log =~ /^([\d.]+) .*received fast shutdown request/m;
my ($ended) = $log =~ /^([\d.]+) .*background worker "mixpeek_docs worker" \(PID \d+\) exited/m;
cmp_ok($ended - $asked, '<', 1, 'a fast shutdown ends the worker within a second');
$api->faults();
$api->reset;
$node->start;
settle();
is($api->stats->{creates}, 1, 'a row under way at a fast shutdown is created once');
is($api->stats->{duplicates}, 0, 'a row under way at a fast shutdown: no duplicates');

# kill -9

foreach my $when ('before', 'after')
{
	my $id = $when eq 'before' ? 30 : 31;
	my $pid = wait_for_worker('postgres');

	hang_for_the_next($id, $when eq 'before' ? %before : %after);
	is(sql("SELECT state, in_doubt FROM mixpeek.documents WHERE relation = 't'::regclass AND key = '$id'"),
		'sending|t', "a worker killed $when its request's work: the intent is recorded before");
	$offset = -s $node->logfile;
	kill('KILL', $pid);
	wait_for('the crash', sub {
		slurp_file($node->logfile, $offset) =~ /database system is ready to accept connections/;
	});
	$api->faults();
	wait_for('connections', sub { ($node->psql('postgres', 'SELECT 1'))[0] == 0 });
	settle();
	is($api->stats->{creates}, 1, "a worker killed $when its request's work: one create");
	is($api->stats->{duplicates}, 0, "a worker killed $when its request's work: no duplicates");
	cmp_ok($api->stats->{lists}, '>=', 1, "a worker killed $when its request's work: the document is looked up");
	is(sql("SELECT state, in_doubt FROM mixpeek.documents WHERE relation = 't'::regclass AND key = '$id'"),
		'mirrored|f', "a worker killed $when its request's work: the record is mirrored");
}

done_testing();
