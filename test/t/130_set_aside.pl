# A table at which the worker dies or meets an error is set aside, and other tables go on. The test uses a library that
# can be told to fail (see Weakness in src/base/settings.h).
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use MixpeekTest;
use MixpeekTest::Crash;

plan skip_all => 'there is no library that can be told to fail (test/run builds one)' unless $ENV{MIXPEEK_WEAK};

my $api = MixpeekTest::Server->new(enrich => 'never');

sub problem
{
	return ask("SELECT coalesce(max(problem), '') FROM mixpeek.mirrors WHERE relation = 'doomed'::regclass")
		// 'unreachable';
}
sub set_aside { return ask("SELECT count(*) FROM mixpeek.set_aside") // ''; }

my $node = new_node('weak', install_path => $ENV{MIXPEEK_WEAK});
$node->start;
sql('CREATE EXTENSION mixpeek_docs');
create_server($node, 'mixpeek', $api, request_timeout => 1);
sql(q{
	CREATE ROLE owner LOGIN; CREATE ROLE other LOGIN; GRANT CREATE ON SCHEMA public TO owner;
	GRANT USAGE ON FOREIGN SERVER mixpeek TO owner; CREATE USER MAPPING FOR owner SERVER mixpeek
		OPTIONS (api_key 'sk_test');
	SET ROLE owner;
	CREATE TABLE doomed (id int PRIMARY KEY);
	CREATE TABLE fine (id int PRIMARY KEY);
	SELECT mixpeek.mirror('doomed', 'doomed'), mixpeek.mirror('fine', 'fine');
});
is(sql("SELECT mixpeek.wait('1 min')"), 't', 'before the first crash: wait() returns true');

# The crash
set('mixpeek.weaken = by_fault');
my $offset = -s $node->logfile;
my $start = time();
ask('INSERT INTO doomed VALUES (1); INSERT INTO fine VALUES (1)');
wait_for('the crash', sub { log_since($offset) =~ /terminated by signal 11/ });
wait_for('the other table', sub { mirrored('fine') });
pass('crash at a table: other tables go on');
like(log_since($offset),
	qr/table "doomed" is set aside for 5 seconds: the worker crashed \(signal 11\) while it worked on the table/,
	'crash at a table: the log says which');
like(problem(), qr/^set aside until .*crashed \(signal 11\).*\(1 times lately\).*mixpeek\.retry\('public\.doomed'\)/,
	"crash at a table: its mirror's problem says so");
is(ask("SET ROLE other; SELECT problem IS NULL FROM mixpeek.mirrors WHERE relation = 'doomed'::regclass"), 't',
	'crash at a table: other roles do not see the problem');
isnt(($node->psql('postgres', 'SET ROLE owner; TABLE mixpeek.set_aside'))[0], 0,
	'crash at a table: other roles may not read mixpeek.set_aside');
wait_for('the second crash', sub { (() = log_since($offset) =~ /terminated by signal 11/g) == 2 });
cmp_ok(time() - $start, '>', 4.5, 'crash at a table: it is tried again after 5 s');
wait_for('its being set aside', sub { log_since($offset) =~ /set aside for 20 seconds/ });
sql('INSERT INTO fine VALUES (2)');
wait_for('the other table', sub { mirrored('fine') });
pass('second crash at a table: it waits for longer, and other tables go on');
$node->restart;
like(problem(), qr/\(2 times lately\)/, 'second crash at a table: the pause outlives a restart of the server');
ask("SET ROLE owner; SELECT mixpeek.retry('doomed')");
wait_for('the third crash', sub { (() = log_since($offset) =~ /terminated by signal 11/g) == 3 });
wait_for('its being set aside', sub { log_since($offset) =~ /set aside for (5|80) seconds/ });
pass("second crash at a table: its owner's retry() has it tried at once");
set('mixpeek.weaken = nothing');
wait_for('the worker', sub { worker() });
sql("SET ROLE owner; SELECT mixpeek.retry()");
wait_for('the table', sub { mirrored('doomed') });
is(problem(), '', 'a table that is well again has no problem');

# An error
set('mixpeek.weaken = by_error');
$offset = -s $node->logfile;
ask('INSERT INTO doomed VALUES (2); INSERT INTO fine VALUES (3)');
wait_for('the other table', sub { mirrored('fine') });
pass('error at a table: other tables go on');
wait_for('its being set aside', sub { problem() =~ /^set aside until .* met an error/ });
pass('error at a table: it is set aside');
set('mixpeek.weaken = nothing');
sql("SELECT mixpeek.retry('doomed')");
wait_for('the table', sub { mirrored('doomed') });

# The crash of an agent
sql(q{
	SET ROLE owner;
	CREATE FUNCTION visible(id int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
	CREATE TABLE forsaken (id int PRIMARY KEY);
	ALTER TABLE forsaken ENABLE ROW LEVEL SECURITY;
	ALTER TABLE forsaken FORCE ROW LEVEL SECURITY;
	CREATE POLICY p ON forsaken USING (visible(id)) WITH CHECK (true);
	SELECT mixpeek.mirror('forsaken', 'forsaken');
	INSERT INTO forsaken VALUES (1);
});
wait_for('the table', sub { mirrored('forsaken') });
set('mixpeek.weaken = by_fault');
$offset = -s $node->logfile;
ask('INSERT INTO forsaken VALUES (2); INSERT INTO fine VALUES (1000)');
wait_for('its being set aside', sub {
	log_since($offset) =~ /table "forsaken" is set aside for 5 seconds: the worker crashed \(signal 11\)/;
});
wait_for('the other table', sub { mirrored('fine') });
pass('crash of an agent at a table: it is set aside, and other tables go on');
like(ask("SELECT problem FROM mixpeek.mirrors WHERE relation = 'forsaken'::regclass"), qr/^set aside until/,
	'crash of an agent at a table: its owner sees the problem');
set('mixpeek.weaken = nothing');
ask('SET ROLE owner; SELECT mixpeek.retry()');	# and of the other table, if it was set aside meanwhile
wait_for('the table', sub { mirrored('forsaken') && set_aside() eq '0' });

# kill -9 while it works
my $stall = sub {
	my ($id) = @_;
	set('mixpeek.weaken = by_stall');
	sql("INSERT INTO doomed VALUES ($id)");
	my $worker = wait_for_worker();
	wait_for('the worker to stall', sub {
		ask("SELECT count(*) FROM pg_stat_activity WHERE pid = $worker AND state = 'active'
			AND xact_start < clock_timestamp() - interval '0.3 s'");
	});
	set('mixpeek.weaken = nothing');	# of the next one
	return $worker;
};
my $worker = $stall->(3);
$offset = -s $node->logfile;
signal('KILL', $worker);
wait_for_worker($worker);
wait_for('its being set aside', sub { log_since($offset) =~ /set aside for 5 seconds: the worker was killed while/ });
sql('INSERT INTO fine VALUES (4)');
wait_for('the other table', sub { mirrored('fine') });
wait_for('the table', sub { mirrored('doomed') });
wait_for('its being forgotten', sub { sql('INSERT INTO fine SELECT max(id) + 1 FROM fine'); set_aside() eq '0' });
pass('worker killed at a table: it waits for a moment, and nothing is left of that when it went well');

# Ends of the worker for other reasons
$worker = $stall->(100);
signal('TERM', $worker);
wait_for_worker($worker);
wait_for('the table', sub { mirrored('doomed') });
is(set_aside(), '0', 'SIGTERM sets no table aside');
$worker = $stall->(101);
my $session = $node->background_psql('postgres');
signal('KILL', $session->query('SELECT pg_backend_pid()'));
wait_for('the worker to end', sub { !kill(0, $worker) });
wait_for_worker($worker);
wait_for('the table', sub { mirrored('doomed') });
is(set_aside(), '0', 'the crash of another process sets no table aside');
eval { $session->quit };
$worker = $stall->(102);
$node->stop('immediate');
$node->start;
wait_for('the table', sub { mirrored('doomed') });
is(set_aside(), '0', 'an immediate shutdown sets no table aside');
$worker = wait_for_worker();
signal('KILL', $worker);
wait_for_worker($worker);
is(set_aside(), '0', 'the death of a worker that had nothing to do sets no table aside');

# Several ends in a row
$node->restart;
my @starts = (time());
$worker = wait_for_worker();
foreach my $i (1 .. 4)
{
	signal('KILL', $worker);
	$worker = wait_for_worker($worker);
	push @starts, time();
}
cmp_ok($starts[1] - $starts[0], '<', 2, 'a worker that died is there again at once');
cmp_ok($starts[4] - $starts[3], '>', 1.5, 'a worker that dies again and again comes later');
$worker = wait_for_worker();

# After errors that have nothing to do with a table the worker soon goes on when their cause is gone.
$offset = -s $node->logfile;
sql('ALTER TABLE mixpeek.documents RENAME TO gone; INSERT INTO fine SELECT max(id) + 1 FROM fine');
wait_for('errors', sub {
	(() = log_since($offset) =~ /goes on after an error in .*(?:mixpeek\.documents|no table "documents")/g) >= 4;
});
sql('ALTER TABLE mixpeek.gone RENAME TO documents');
$start = time();
wait_for('the table', sub { mirrored('fine') });
cmp_ok(time() - $start, '<', 12, 'an error met four times delays nothing for more than 12 s after it is over');

# The file in which the pauses are kept
my $file = $node->data_dir . '/pg_stat_tmp/mixpeek_docs.'
	. sql("SELECT oid FROM pg_database WHERE datname = 'postgres'");
ok(-e $file, 'the file about the worker is there');
$node->backup('backup');
ok(!glob($node->backup_dir . '/backup/pg_stat_tmp/mixpeek_docs*'),
	'the file about the worker is left out of base backups');
$node->stop;
open(my $handle, '>', $file) or die;
print $handle 'garbage' x 1000;
close($handle);
$node->start;
sql('INSERT INTO doomed VALUES (200)');
wait_for('the table', sub { mirrored('doomed') });
pass('the file about the worker may hold garbage');
$node->stop;
unlink($file);
mkdir($file);
$node->start;
sql('INSERT INTO doomed VALUES (201)');
wait_for('the table', sub { mirrored('doomed') });
like(slurp_file($node->logfile), qr/could not open file "pg_stat_tmp\/mixpeek_docs/,
	'the file about the worker may be unreadable');
sql('CREATE DATABASE short_lived');
sql('DROP DATABASE short_lived');
$node->stop;

done_testing();
