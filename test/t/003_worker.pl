# The launcher and its workers: when they come and go, what wakes them, and that nobody waits for them.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use MixpeekTest;

my $key = 'sk_a_key_that_nobody_may_see';

# DEBUG5 has lines of each transaction.
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1, extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'mixpeek_docs'
max_prepared_transactions = 5
max_worker_processes = 20
restart_after_crash = on
log_min_messages = debug5
log_statement = none
log_line_prefix = '%n [%p] '
mixpeek.retry_max_delay = 1
});
$node->start;

my $api = MixpeekTest::Server->new(api_key => $key, enrich => 'never');

sub sql
{
	my ($statement, $database) = @_;
	return $node->safe_psql($database // 'postgres', $statement);
}

sub settle
{
	my ($database) = @_;
	sql("SELECT mixpeek.wait('3 min')", $database) eq 't' or die 'the mirror did not settle';
	return;
}

# The process of a database's worker, or nothing.
sub worker
{
	my ($database) = @_;
	return sql(qq{SELECT pid FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker' AND datname = '$database'});
}

sub wait_for_worker
{
	my ($database) = @_;
	return wait_for("a worker in $database", sub { worker($database) });
}

sub wait_for_no_worker
{
	my ($database) = @_;
	wait_for("no worker in $database", sub { worker($database) eq '' });
	return;
}

sub is_alive { return kill(0, $_[0]); }

# The extension in a database, with a server and a table t that is mirrored into the collection of the
# database's name.
sub set_up
{
	my ($database, %option) = @_;
	sql('CREATE EXTENSION mixpeek_docs', $database);
	create_server($node, 'mixpeek', $api, database => $database, request_timeout => '60', %option);
	sql("CREATE TABLE t (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('t', '$database')", $database);
	return;
}

# What a collection has, as 'id value' by id.
sub there
{
	my ($collection) = @_;
	return join(', ', map { "$_->{id} $_->{v}" } sort { $a->{id} <=> $b->{id} } map { $_->{metadata} } @{ $api->documents($collection) });
}

# Inserts a row whose request meets a fault that leaves it without an answer, and waits until it is under way.
sub hang
{
	my ($database, $id, %fault) = @_;
	$api->reset;
	$api->faults({ kind => 'hang', body => 'hanging', %fault });
	sql("INSERT INTO t VALUES ($id, 'hanging')", $database);
	wait_for('the request to be under way', sub { $api->stats->{faults} == 1 });
	return;
}

# The same in the database postgres; whoever comes after that worker need not wait for long before it looks
# the document up.
sub hang_for_the_next
{
	my ($id, %fault) = @_;
	sql("ALTER SERVER mixpeek OPTIONS (SET request_timeout '60')");
	hang('postgres', $id, %fault);
	sql("ALTER SERVER mixpeek OPTIONS (SET request_timeout '1')");
	return;
}

my %before = (kind => 'hang');
my %after = (kind => 'delay', ms => 600000, when => 'after');

# Changes a setting, and waits until the worker has taken it: the log's lines begin with another word then.
my $reloads = 0;

sub set_and_reload
{
	my ($setting, $value, $database) = @_;
	my $worker = wait_for_worker($database);

	$reloads++;
	sql("ALTER SYSTEM SET $setting = $value");
	sql("ALTER SYSTEM SET log_line_prefix = '%n [%p] reload_$reloads '");
	$node->reload;
	wait_for('the worker to reload', sub { slurp_file($node->logfile) =~ /\[$worker\] reload_$reloads DEBUG: / });
	return;
}

# Extensions and databases that come and go

is(sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs launcher'}), '1', 'one launcher runs');
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

# While a request hangs, nobody waits for its answer: it would not come for a minute.

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
is(sql("SELECT string_agg(datname, ' ') FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker'"), 'postgres', 'after DROP DATABASE one worker is left');
$api->faults();
is(worker('postgres'), $first, 'after DROP DATABASE the first worker is left');

# SIGTERM

create_server($node, 'patient', $api, request_timeout => '60');
my @ends;
foreach my $try (1 .. 2)
{
	sql("CREATE TABLE ended_$try (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('ended_$try', 'ended', server => 'patient')");
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

# Fast shutdown. What had no answer is looked up when the server runs again.

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
	is(sql("SELECT state, in_doubt FROM mixpeek.documents WHERE relation = 't'::regclass AND key = '$id'"), 'sending|t', "a worker killed $when its request's work: the intent is recorded before");
	$offset = -s $node->logfile;
	kill('KILL', $pid);
	wait_for('the crash', sub { slurp_file($node->logfile, $offset) =~ /database system is ready to accept connections/ });
	$api->faults();
	wait_for('connections', sub { ($node->psql('postgres', 'SELECT 1'))[0] == 0 });
	settle();
	is($api->stats->{creates}, 1, "a worker killed $when its request's work: one create");
	is($api->stats->{duplicates}, 0, "a worker killed $when its request's work: no duplicates");
	cmp_ok($api->stats->{lists}, '>=', 1, "a worker killed $when its request's work: the document is looked up");
	is(sql("SELECT state, in_doubt FROM mixpeek.documents WHERE relation = 't'::regclass AND key = '$id'"), 'mirrored|f', "a worker killed $when its request's work: the record is mirrored");
}

# Settings

set_and_reload('mixpeek.max_attempts', 1, 'postgres');
$api->faults({ kind => 'status', status => 500, body => 'poison' });
sql("INSERT INTO t VALUES (40, 'poison')");
settle();
is(sql("SELECT state, attempts FROM mixpeek.documents WHERE relation = 't'::regclass AND key = '40'"), 'failed|1', 'SIGHUP reloads mixpeek.max_attempts');
$api->faults();
sql("DELETE FROM t WHERE id = 40");
settle();
set_and_reload('mixpeek.max_attempts', 10, 'postgres');

set_and_reload('mixpeek.enabled', 'off', 'postgres');
$api->reset;
sql("CREATE TABLE locked (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('locked', 'locked'); INSERT INTO locked VALUES (1, 'x'); INSERT INTO t VALUES (41, 'paused')");
is(sql("SELECT mixpeek.wait('500 ms')"), 'f', 'mixpeek.enabled = off: wait() returns false');
is($api->stats->{requests}, 0, 'mixpeek.enabled = off: nothing is sent');
cmp_ok(sql('SELECT count(*) FROM mixpeek.outbox'), '>=', 2, 'mixpeek.enabled = off: entries stay in the outbox');

# Somebody's lock on one table holds back no other.

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

# Idle: with nothing due, a worker is not even scheduled.

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
my %idle = (worker => worker('quiet'), launcher => sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs launcher'}));
my $commits = q{SELECT xact_commit FROM pg_stat_database WHERE datname = 'quiet'};
my $activity = sub { return join(', ', map { "$_: " . activity($idle{$_}) } sort keys %idle) . ', ' . sql($commits) };

# What the activity is before and after the worker of another database has mirrored some rows one by one.
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

# It may have had something to finish; then it rests.
wait_for('the worker to rest', sub { my ($before, $after) = $meanwhile->(); return $before eq $after });
# PostgreSQL itself may wake it, though seldom: to take invalidation messages in, or a signal barrier.
my ($before, $after);
foreach my $try (1 .. 3)
{
	($before, $after) = $meanwhile->();
	last if $before eq $after;
}
is($after, $before, 'a worker with nothing to do runs no query and uses no CPU while another works');

# What is prepared is no commit of its own; COMMIT PREPARED is what wakes such a worker.
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
sql('DROP DATABASE quiet');

# The key

$session = $node->background_psql('postgres');
my $pid = $session->query('SELECT pg_backend_pid()');
foreach my $statement ("CREATE USER MAPPING FOR PUBLIC SERVER patient OPTIONS (api_key '$key')",
	"ALTER USER MAPPING FOR PUBLIC SERVER patient OPTIONS (SET api_key '$key!')")
{
	$session->query($statement);
	my $shown = sql("SELECT query FROM pg_stat_activity WHERE pid = $pid");
	like($shown, qr/USER MAPPING/, 'pg_stat_activity shows the USER MAPPING statement');
	unlike($shown, qr/$key/, 'pg_stat_activity shows the USER MAPPING statement without the key');
}
is(sql("SELECT count(*) FROM pg_stat_activity a WHERE pid <> pg_backend_pid() AND a::text ~ '$key'"), '0', 'pg_stat_activity shows the key in no session');
$session->quit;

# A standby

settle();
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->append_conf('postgresql.conf', "synchronous_commit = on\n");
$standby->start;
is($standby->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'mixpeek_docs%'}), '0', 'a standby: neither launcher nor worker runs');
sql("INSERT INTO t VALUES (60, 'before the failover'); UPDATE t SET v = 'updated' WHERE id = 20");
settle();
# What the worker stores is not flushed at once, and what is not flushed is not sent.
ok($standby->poll_query_until('postgres', "SELECT count(*) = 1 FROM mixpeek.documents WHERE relation = 't'::regclass AND key = '60' AND document_id IS NOT NULL"),
	'a standby: it has the records of the primary');

# The primary dies with a request under way whose work was done.
hang_for_the_next(61, %after);
$node->wait_for_catchup($standby);
$node->stop('immediate');
$api->faults();
is($api->stats->{creates}, 1, 'the primary dies in a create');
$standby->promote;
is($standby->safe_psql('postgres', "SELECT mixpeek.wait('3 min')"), 't', 'after promotion: wait() returns true');
is($api->stats->{creates}, 1, 'after promotion: the create is not repeated');
is($api->stats->{duplicates}, 0, 'after promotion: no duplicates');
$standby->safe_psql('postgres', "INSERT INTO t VALUES (62, 'after the failover'); DELETE FROM t WHERE id = 60");
is($standby->safe_psql('postgres', "SELECT mixpeek.wait('3 min')"), 't', 'after promotion: wait() for new changes returns true');
is(there('postgres'), $standby->safe_psql('postgres', q{SELECT string_agg(id || ' ' || v, ', ' ORDER BY id) FROM t}), 'after promotion: the documents equal the rows');

# A base backup that is started by itself is no failover. Nobody else works meanwhile.
my $rows = there('postgres');
$standby->stop;
my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($node, 'backup');
$restored->start;
$api->reset;
$restored->safe_psql('postgres', "UPDATE t SET v = 'in the backup'; DELETE FROM t WHERE id = 1");
wait_for('the worker to say so', sub { slurp_file($restored->logfile) =~ /nothing is mirrored: this server runs at/ });
my ($rc, $out, $err) = $restored->psql('postgres', "SELECT mixpeek.wait('1 s')");
like($err, qr/nothing is mirrored: this server runs at .*, and its documents belong to/, 'a base backup that is started: wait() fails, and says why');
is($api->stats->{requests}, 0, 'a base backup that is started sends nothing');
$restored->stop;
is(there('postgres'), $rows, 'a base backup that is started leaves the documents as they were');

foreach my $one ($node, $standby)
{
	ok(index(slurp_file($one->logfile), $key) < 0, 'the log of ' . $one->name . ' does not have the key');
}

done_testing();
