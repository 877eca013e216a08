# What a worker does when it is paused, when a table is locked, and when it has nothing to do.
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

# Settings

set_and_reload('mixpeek.max_attempts', 1, 'postgres');
$api->faults({ kind => 'status', status => 500, body => 'poison' });
sql("INSERT INTO t VALUES (40, 'poison')");
settle();
is(sql("SELECT state, attempts FROM mixpeek.documents WHERE relation = 't'::regclass AND key = '40'"), 'failed|1',
	'SIGHUP reloads mixpeek.max_attempts');
$api->faults();
sql("DELETE FROM t WHERE id = 40");
settle();
set_and_reload('mixpeek.max_attempts', 10, 'postgres');

set_and_reload('mixpeek.enabled', 'off', 'postgres');
$api->reset;
sql("CREATE TABLE locked (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('locked', 'locked'); INSERT INTO locked
	VALUES (1, 'x'); INSERT INTO t VALUES (41, 'paused')");
is(sql("SELECT mixpeek.wait('500 ms')"), 'f', 'mixpeek.enabled = off: wait() returns false');
is($api->stats->{requests}, 0, 'mixpeek.enabled = off: nothing is sent');
cmp_ok(sql('SELECT count(*) FROM mixpeek.outbox'), '>=', 2, 'mixpeek.enabled = off: entries stay in the outbox');

# A lock on one table does not hold up another one.

my $session = $node->background_psql('postgres');
$session->query('BEGIN; LOCK TABLE locked IN ACCESS EXCLUSIVE MODE');
set_and_reload('mixpeek.enabled', 'on', 'postgres');
wait_for('the other table', sub { there('postgres') =~ /41 paused/ });
pass('mixpeek.enabled = on again: a locked table does not hold up another one');
sql("UPDATE t SET v = 'and again' WHERE id = 41");
wait_for('the other table', sub { there('postgres') =~ /41 and again/ });
is(there('locked'), '', 'a locked table: its rows are not sent');
is(sql(q{SELECT count(*) FROM pg_locks WHERE NOT granted}), '0', 'a locked table: the worker is not in the lock queue');
$session->query('COMMIT');
wait_for('the locked table', sub { there('locked') eq '1 x' });
pass('a locked table: its rows are sent when the lock is released');
$session->query('BEGIN; SELECT * FROM t FOR UPDATE; CREATE TABLE holds_a_transaction_open ()');
sql("INSERT INTO t VALUES (42, 'beside it')");
wait_for('the row', sub { there('postgres') =~ /42 beside it/ });
pass('a transaction held open does not hold up rows');
$session->query('ROLLBACK');
$session->quit;

# A worker with nothing to do is not even scheduled.

sub activity
{
	my ($pid) = @_;
	my ($switches) = slurp_file("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s+(\d+)/m;
	my @stat = split(/ /, slurp_file("/proc/$pid/stat") =~ s/^.*\) //sr);

	return "$switches switches, $stat[11]+$stat[12] ticks";
}

sql('CREATE DATABASE quiet');
set_up('quiet');
sql("INSERT INTO t VALUES (1, 'x')", 'quiet');
settle('quiet');
sql('TRUNCATE t', 'quiet');
settle('quiet');
is(sql('SELECT count(*) FROM mixpeek.documents', 'quiet'), '0', 'a worker with nothing to do: there is no record');
my %idle = (worker => worker('quiet'), launcher => sql(q{SELECT pid FROM pg_stat_activity
	WHERE backend_type = 'mixpeek_docs launcher'}));
my $commits = q{SELECT xact_commit FROM pg_stat_database WHERE datname = 'quiet'};
my $activity = sub { return join(', ', map { "$_: " . activity($idle{$_}) } sort keys %idle) . ', ' . sql($commits) };

# The activity before and after the worker of another database has mirrored some rows one by one.
my $number = 0;
my $meanwhile = sub {
	my $before = $activity->();
	foreach my $row (1 .. 20)
	{
		$number++;
		sql("UPDATE t SET v = 'number $number' WHERE id = 1");
		wait_for('the worker of another database', sub { there('postgres') =~ /\b1 number $number\b/ });
	}
	return ($before, $activity->());
};

# The worker may have something to finish first.
wait_for('the worker to rest', sub { my ($before, $after) = $meanwhile->(); return $before eq $after });
# PostgreSQL itself may wake it, though seldom: to take invalidation messages in, or a signal barrier.
my ($before, $after);
foreach my $try (1 .. 3)
{
	($before, $after) = $meanwhile->();
	last if $before eq $after;
}
is($after, $before, 'a worker with nothing to do runs no query and uses no CPU while another works');

# PREPARE TRANSACTION does not wake the worker, COMMIT PREPARED does.
sql("BEGIN; INSERT INTO t VALUES (2, 'prepared'); PREPARE TRANSACTION 'one'", 'quiet');
sql("COMMIT PREPARED 'one'", 'quiet');
wait_for('the document', sub { there('quiet') eq '2 prepared' });
isnt($activity->(), $after, 'COMMIT PREPARED wakes a worker with nothing to do');

# A paused worker asks for no changes: the first commit may still wake it, the others do not.
set_and_reload('mixpeek.enabled', 'off', 'quiet');
my $row = 2;
my $commit = sub { $row++; sql("INSERT INTO t VALUES ($row, 'paused')", 'quiet') };
my $worker_activity = sub { return activity($idle{worker}) };
$commit->();
foreach my $try (1 .. 5)
{
	$before = $worker_activity->();
	$commit->() foreach 1 .. 10;
	$after = $worker_activity->();
	last if $before eq $after;
}
is($after, $before, 'commits do not wake a paused worker');
set_and_reload('mixpeek.enabled', 'on', 'quiet');
wait_for('all rows', sub { (() = there('quiet') =~ /paused/g) == $row - 2 });

done_testing();
