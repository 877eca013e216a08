# Wall clocks that are set (test/clock.c); the monotonic clock goes on.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use MixpeekTest;
use MixpeekTest::Crash;

my $api = MixpeekTest::Server->new(enrich => 'never');
my $node;

my $clock_dir = PostgreSQL::Test::Utils::tempdir();
my ($clock_file, $clock_library) = ("$clock_dir/clock", "$clock_dir/clock.so");

# Write the clock's offset; in place, since the file is mapped.
sub set_clock
{
	my ($offset) = @_;
	open(my $handle, -e $clock_file ? '+<' : '>', $clock_file) or die;
	print $handle pack('d', $offset);
	close($handle);
	return;
}

sub with_clock
{
	my ($action) = @_;
	local %ENV = (%ENV, LD_PRELOAD => $clock_library, MIXPEEK_TEST_CLOCK => $clock_file);
	return $action->();
}

# Remove the record of the clock, as after a reboot, or on another machine.
sub forget_clock { unlink(glob($node->data_dir . '/pg_stat_tmp/mixpeek_docs.*')); return; }

sub pending
{
	return sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'clocked'::regclass AND state = 'pending'");
}

# Insert N rows whose creates fail, so that they are pending.
sub make_pending
{
	my ($n) = @_;
	$api->faults({ kind => 'status', status => 500, method => 'POST', path => 'clocked' });
	sql("INSERT INTO clocked SELECT m + g FROM generate_series(1, $n) g, (SELECT coalesce(max(id), 0) AS m
		FROM clocked) x");
	wait_for('pending rows', sub { pending() == $n });
	return;
}

sub takes_at_most
{
	my ($seconds, $name) = @_;
	my $start = time();
	$api->faults();
	wait_for('the table', sub { mirrored('clocked') });
	cmp_ok(time() - $start, '<', $seconds, $name);
	return;
}

# A create that times out after 2 s and is carried out after 3.2 s; the next one may not be sent before 4 s.
sub give_up_create
{
	sql("ALTER SERVER mixpeek OPTIONS (SET request_timeout '2')");
	$api->faults({ kind => 'delay', when => 'before', ms => 3200, body => '"collection_id"', count => 1 });
	sql('INSERT INTO clocked SELECT coalesce(max(id), 0) + 1 FROM clocked');
	wait_for('the create to be given up', sub { pending() == 1 });
	return;
}

sub is_not_doubled
{
	my ($name) = @_;
	wait_for('the table', sub { mirrored('clocked') });
	wait_for('the end of all that is under way', sub { $api->stats->{in_flight} == 0 });
	is($api->stats->{duplicates}, 0, $name);
	return;
}

plan skip_all => 'there is no C compiler'
  unless system('cc', qw(-shared -fPIC -O -o), $clock_library, 'test/clock.c') == 0;
$api->reset(documents => 1);
$node = new_node('clock');
set_clock(0);
with_clock(sub { $node->start });
sql('CREATE EXTENSION mixpeek_docs');
create_server($node, 'mixpeek', $api, request_timeout => 2);
sql("CREATE TABLE clocked (id int PRIMARY KEY); SELECT mixpeek.mirror('clocked', 'clocked')");
my $offset = -s $node->logfile;

make_pending(20);
set_clock(-3600);
cmp_ok(abs(time() - 3600 - sql('SELECT extract(epoch FROM clock_timestamp())')), '<', 60, 'the clock can be set');
takes_at_most(15, 'clock set back by an hour: pending rows do not wait for it');
wait_for('the log', sub { log_since($offset) =~ /the clock was set back by 3\d\d\d seconds/ });
pass('clock set back by an hour: the log says so');
make_pending(5);
my $worker = wait_for_worker();
signal('TERM', $worker);
wait_for_worker($worker);
takes_at_most(15, 'clock set back by an hour: pending rows of a new worker do not wait for it');
make_pending(5);
with_clock(sub { $node->restart });
takes_at_most(15, 'clock set back by an hour: pending rows do not wait after a restart of the server');
make_pending(5);
signal('KILL', wait_for_worker());
set_clock(-7200);
takes_at_most(20, 'clock set back again before a crash: pending rows do not wait for it');

set_clock(31536000);
make_pending(5);
$node->stop;
forget_clock();
set_clock(0);
with_clock(sub { $node->start });
takes_at_most(15, 'clock that was a year ahead before a reboot: pending rows do not wait for it');
sql("UPDATE mixpeek.documents SET next_attempt_at = now() + interval '1 year'");
$node->stop;
forget_clock();
with_clock(sub { $node->start });
wait_for('polls that are due again', sub {
	sql("SELECT coalesce(max(next_attempt_at) < now() + interval '4 hours', true) FROM mixpeek.documents") eq 't';
});
pass('clock that was a year ahead before a reboot: polls do not wait for it');

give_up_create();
set_clock(3600);
sql('INSERT INTO clocked SELECT max(id) + 1 FROM clocked');	# it wakes the worker
is_not_doubled('clock set forward while a key waits: nothing is doubled');
give_up_create();
signal('TERM', wait_for_worker());
set_clock(7200);
is_not_doubled('clock set forward while no worker runs: nothing is doubled');
give_up_create();
$node->stop;
set_clock(10800);
with_clock(sub { $node->start });
is_not_doubled('clock set forward while the server is down: nothing is doubled');
give_up_create();
$node->stop;
forget_clock();
set_clock(14400);
with_clock(sub { $node->start });
is_not_doubled('clock set forward, and nothing known of the clock before: nothing is doubled');

# A key that is not in doubt does not have to wait
sql("ALTER SERVER mixpeek OPTIONS (SET request_timeout '60')");
make_pending(3);
$api->faults();
sql("UPDATE mixpeek.documents SET in_doubt = false, next_attempt_at = now() WHERE state = 'pending'");
$node->stop;
forget_clock();
with_clock(sub { $node->start });
takes_at_most(15, 'nothing known of the clock before: a key that is not in doubt does not wait');
my ($created) = sql("SELECT abs(extract(epoch FROM max(mirrored_at) - clock_timestamp())) < 60 FROM mixpeek.documents");
is($created, 't', 'mirrored_at is a time of the wall clock');
$node->stop;

done_testing();
