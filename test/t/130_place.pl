# What a server remembers of a worker that died, what it makes of clocks that are set, and whether it knows a
# clone of its disk. Where something must go wrong inside the worker, a library is used that can be told to
# (see Weakness in src/mixpeek_docs.h).
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use MixpeekTest;

my $api = MixpeekTest::Server->new(enrich => 'never');
my $node;

sub new_node
{
	my ($name, %options) = @_;
	my $new = PostgreSQL::Test::Cluster->new($name, %options);

	$new->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ], allows_streaming => 1);
	$new->append_conf('postgresql.conf', q{
		shared_preload_libraries = 'mixpeek_docs'
		restart_after_crash = on
		log_line_prefix = '%n [%p] %b '
		mixpeek.retry_max_delay = 1
	});
	return $new;
}

# While the server recovers from a crash nobody can ask it; several statements are one transaction.
sub ask
{
	my ($statement, %option) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ $node->installed_command('psql'), qw(-X -q -A -t -d), $node->connstr('postgres'), '-c', $statement ],
		'<', \undef, '>', \$out, '2>', \$err) or return;
	chomp($out);
	return $out;
}

sub sql { my ($statement) = @_; return $node->safe_psql('postgres', $statement); }
sub worker { return ask("SELECT pid FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker' AND datname = 'postgres'"); }

sub wait_for_worker
{
	my ($not) = @_;
	return wait_for('a worker', sub { my $pid = worker() // ''; return $pid ne '' && $pid ne ($not // '') && $pid });
}

sub mirrored
{
	my ($table) = @_;
	return (ask("SELECT (SELECT count(*) FROM $table) = (SELECT count(*) FROM mixpeek.documents WHERE relation = '$table'::regclass AND state = 'mirrored')"
		. " AND NOT EXISTS (SELECT FROM mixpeek.outbox WHERE relation = '$table'::regclass)") // '') eq 't';
}

sub set
{
	my ($setting) = @_;
	$node->append_conf('postgresql.conf', "$setting\n");
	$node->reload;
	wait_for('the setting', sub { my ($name, $value) = $setting =~ /^(\S+) = '?([^']*)/; (ask("SELECT current_setting('$name')") // '') eq $value });
	return;
}

# Pid 0 would be this process and all that it has started.
sub signal
{
	my ($signal, $pid) = @_;
	die "no process: '$pid'" unless $pid =~ /^\d+$/ && $pid > 1;
	return kill($signal, $pid);
}

sub log_since { my ($offset) = @_; return slurp_file($node->logfile, $offset); }
sub problem { return ask("SELECT coalesce(max(problem), '') FROM mixpeek.mirrors WHERE relation = 'doomed'::regclass") // 'unreachable'; }
sub set_aside { return ask("SELECT count(*) FROM mixpeek.set_aside") // ''; }

# A worker that died

SKIP:
{
	skip 'there is no library that can be told to fail (test/run builds one)', 1 unless $ENV{MIXPEEK_WEAK};
	$node = new_node('weak', install_path => $ENV{MIXPEEK_WEAK});
	$node->start;
	sql('CREATE EXTENSION mixpeek_docs');
	create_server($node, 'mixpeek', $api, request_timeout => 1);
	sql(q{
		CREATE ROLE owner LOGIN; CREATE ROLE other LOGIN; GRANT CREATE ON SCHEMA public TO owner;
		GRANT USAGE ON FOREIGN SERVER mixpeek TO owner; CREATE USER MAPPING FOR owner SERVER mixpeek OPTIONS (api_key 'sk_test');
		SET ROLE owner;
		CREATE TABLE doomed (id int PRIMARY KEY);
		CREATE TABLE fine (id int PRIMARY KEY);
		SELECT mixpeek.mirror('doomed', 'doomed'), mixpeek.mirror('fine', 'fine');
	});
	is(sql("SELECT mixpeek.wait('1 min')"), 't', 'a worker works');

	# The crash
	set('mixpeek.weaken = by_fault');
	my $offset = -s $node->logfile;
	my $start = time();
	ask('INSERT INTO doomed VALUES (1); INSERT INTO fine VALUES (1)');
	wait_for('the crash', sub { log_since($offset) =~ /terminated by signal 11/ });
	wait_for('the other table', sub { mirrored('fine') });
	pass('a table at which the worker crashes stops no other');
	like(log_since($offset), qr/table "doomed" is set aside for 5 seconds: the worker crashed \(signal 11\) while it worked on the table/, '... the log says which');
	like(problem(), qr/^set aside until .*crashed \(signal 11\).*\(1 times lately\).*mixpeek\.retry\('public\.doomed'\)/, '... and so does its mirror');
	is(ask("SET ROLE other; SELECT problem IS NULL FROM mixpeek.mirrors WHERE relation = 'doomed'::regclass"), 't', '... but to others');
	isnt(($node->psql('postgres', 'SET ROLE owner; TABLE mixpeek.set_aside'))[0], 0, '... who may not read what is set aside');
	wait_for('the second crash', sub { (() = log_since($offset) =~ /terminated by signal 11/g) == 2 });
	cmp_ok(time() - $start, '>', 4.5, 'it is tried again after 5 s');
	wait_for('its being set aside', sub { log_since($offset) =~ /set aside for 20 seconds/ });
	sql('INSERT INTO fine VALUES (2)');
	wait_for('the other table', sub { mirrored('fine') });
	pass('... which crashes, and others go on, it waits for longer');
	$node->restart;
	like(problem(), qr/\(2 times lately\)/, 'that outlives a restart of the server');
	ask("SET ROLE owner; SELECT mixpeek.retry('doomed')");
	wait_for('the third crash', sub { (() = log_since($offset) =~ /terminated by signal 11/g) == 3 });
	wait_for('its being set aside', sub { log_since($offset) =~ /set aside for (5|80) seconds/ });
	pass('its owner can have it tried at once');
	set('mixpeek.weaken = nothing');
	wait_for('the worker', sub { worker() });
	sql("SET ROLE owner; SELECT mixpeek.retry()");
	wait_for('the table', sub { mirrored('doomed') });
	is(problem(), '', 'once it is well that brings it back, and nothing is left to say');

	# An error
	set('mixpeek.weaken = by_error');
	$offset = -s $node->logfile;
	ask('INSERT INTO doomed VALUES (2); INSERT INTO fine VALUES (3)');
	wait_for('the other table', sub { mirrored('fine') });
	pass('a table at which the worker ends with an error stops no other');
	like(problem(), qr/ended with an error/, '... and is set aside');
	set('mixpeek.weaken = nothing');
	sql("SELECT mixpeek.retry('doomed')");
	wait_for('the table', sub { mirrored('doomed') });

	# kill -9 while it works
	my $stall = sub {
		my ($id) = @_;
		set('mixpeek.weaken = by_stall');
		sql("INSERT INTO doomed VALUES ($id)");
		my $worker = wait_for_worker();
		wait_for('the worker to stall', sub { ask("SELECT count(*) FROM pg_stat_activity WHERE pid = $worker AND state = 'active' AND xact_start < clock_timestamp() - interval '0.3 s'") });
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
	pass('a table at which the worker was killed waits for a moment, which is forgotten when it went well');

	# ended for other reasons
	$worker = $stall->(100);
	signal('TERM', $worker);
	wait_for_worker($worker);
	wait_for('the table', sub { mirrored('doomed') });
	is(set_aside(), '0', 'SIGTERM sets nothing aside');
	$worker = $stall->(101);
	my $session = $node->background_psql('postgres');
	signal('KILL', $session->query('SELECT pg_backend_pid()'));
	wait_for('the worker to end', sub { !kill(0, $worker) });
	wait_for_worker($worker);
	wait_for('the table', sub { mirrored('doomed') });
	is(set_aside(), '0', '... nor does the crash of another process');
	eval { $session->quit };
	$worker = $stall->(102);
	$node->stop('immediate');
	$node->start;
	wait_for('the table', sub { mirrored('doomed') });
	is(set_aside(), '0', '... nor an immediate shutdown');
	$worker = wait_for_worker();
	signal('KILL', $worker);
	wait_for_worker($worker);
	is(set_aside(), '0', '... nor the death of a worker that had nothing to do');

	# Several in a row
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
	cmp_ok($starts[4] - $starts[3], '>', 1.5, '... but not when it dies again and again');
	$worker = wait_for_worker();

	# Errors that have nothing to do with a table end soon when what caused them is over.
	$offset = -s $node->logfile;
	sql('ALTER TABLE mixpeek.documents RENAME TO gone; INSERT INTO fine SELECT max(id) + 1 FROM fine');
	wait_for('errors', sub { (() = log_since($offset) =~ /mixpeek_docs worker ERROR: .*mixpeek.documents/g) >= 4 });
	sql('ALTER TABLE mixpeek.gone RENAME TO documents');
	$start = time();
	wait_for('the table', sub { mirrored('fine') });
	cmp_ok(time() - $start, '<', 12, 'what ended the worker four times delays nothing for more than some seconds afterwards');

	# The file
	my $file = $node->data_dir . '/pg_stat_tmp/mixpeek_docs.' . sql("SELECT oid FROM pg_database WHERE datname = 'postgres'");
	ok(-e $file, 'there is a file');
	$node->backup('backup');
	ok(!glob($node->backup_dir . '/backup/pg_stat_tmp/mixpeek_docs*'), '... that base backups leave out');
	$node->stop;
	open(my $handle, '>', $file) or die;
	print $handle 'garbage' x 1000;
	close($handle);
	$node->start;
	sql('INSERT INTO doomed VALUES (200)');
	wait_for('the table', sub { mirrored('doomed') });
	pass('... which may hold anything');
	$node->stop;
	unlink($file);
	mkdir($file);
	$node->start;
	sql('INSERT INTO doomed VALUES (201)');
	wait_for('the table', sub { mirrored('doomed') });
	like(slurp_file($node->logfile), qr/could not open file "pg_stat_tmp\/mixpeek_docs/, '... or not be there');
	sql('CREATE DATABASE short_lived');
	sql('DROP DATABASE short_lived');
	$node->stop;
}

done_testing();
