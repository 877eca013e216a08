# One launcher in a cluster with many more databases than background worker slots: which databases it looks into, in
# which order, and what the log says.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Mirror;
use MixpeekTest::Worker;

# DEBUG1 has a line for each background worker that is started. Of 8 slots, the launchers take two.
my ($node, $api) = worker_node("max_worker_processes = 8\nlog_min_messages = debug1\n");

my $start;

sub log_since_start { return substr(slurp_file($node->logfile), $start); }

# restart(WHILE_DOWN): WHILE_DOWN, if given, is called in between.
sub restart
{
	my ($while_down) = @_;
	$node->stop;
	$while_down->() if $while_down;
	$start = -s $node->logfile;
	$node->start;
	return;
}

# The databases whose workers were started, as oids.
sub started
{
	my @oids = log_since_start() =~ /starting background worker process "mixpeek_docs worker for database (\d+)"/g;
	return @oids;
}

sub wait_until_all_are_known
{
	my ($workers) = @_;
	wait_for('the launcher to look into all databases', sub {
		sql(q{SELECT count(DISTINCT datid) FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker'}) == $workers
			&& sql('SELECT count(*) FROM pg_database WHERE NOT datistemplate') <= scalar(started());
	});
	return;
}

sub lines { my @lines = log_since_start() =~ /^(.* (?:LOG|WARNING|ERROR):  mixpeek_docs.*)$/mg; return @lines; }

#
# 45 databases without the extension, and one with it
#

sql("CREATE DATABASE empty_$_") foreach 1 .. 44;
sql('CREATE DATABASE mirrored');
set_up('mirrored');
wait_for_worker('mirrored');
my $mirrored = sql(q{SELECT oid FROM pg_database WHERE datname = 'mirrored'});

restart();
sql("INSERT INTO t VALUES (1, 'x')", 'mirrored');
wait_for('the row', sub { there('mirrored') eq '1 x' });
wait_until_all_are_known(1);
my @started = started();
# The postmaster may start two workers in another order than the launcher asked for.
ok((grep { $_ == $mirrored } @started[0, 1]), '46 databases: the one that had a worker is among the first two');
is(scalar(@started), 46, '46 databases: each is looked into once');
is_deeply([ lines() ], [], '46 databases: the log has no line about them');

# A base backup does not have the files that say where a worker was.
restart(sub { unlink(glob($node->data_dir . '/pg_stat_tmp/mixpeek_docs.*')) });
sql("INSERT INTO t VALUES (2, 'y')", 'mirrored');
wait_for('the row', sub { there('mirrored') eq '1 x, 2 y' });
wait_until_all_are_known(1);
is(scalar(started()), 46, '46 databases, and nothing known of them: each is looked into once');
is_deeply([ lines() ], [], '46 databases, and nothing known of them: the log has no line about them');

#
# More databases with the extension than slots
#

sql("DROP DATABASE empty_$_") foreach 3 .. 44;
$node->append_conf('postgresql.conf', 'max_worker_processes = 4');
set_up("empty_$_") foreach 1 .. 2;
restart();
wait_for('two workers', sub {
	sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker'}) == 2 });
wait_for('a line about the slots', sub { scalar(lines()) });
my @without = grep { worker($_) eq '' } qw(mirrored empty_1 empty_2);
is(scalar(@without), 1, 'two slots for three databases: one has no worker');
my ($with) = grep { worker($_) ne '' } qw(empty_1 empty_2);
sql('DROP EXTENSION mixpeek_docs CASCADE', $with);
ok(wait_for_worker($without[0]), 'a slot that becomes free: the database that waited for it gets a worker');
is(scalar(grep { /no background worker slot is free/ } lines()), 1, 'two slots for three databases: one log line');

done_testing();
