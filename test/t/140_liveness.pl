# Commits are seen and changes of servers take effect, whatever else waits: wake-ups that come while the worker waits
# for something else, servers that take no more keys, backlogs of dead, busy and locked ones, entries that mean nothing.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Mirror;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1, extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'mixpeek_docs'
max_prepared_transactions = 5
autovacuum = off
mixpeek.retry_max_delay = 1
});
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION mixpeek_docs');
my $api = MixpeekTest::Server->new(enrich => 'never');
create_server($node, 'healthy', $api);
use_node($node, $api);

# Two tests: the condition becomes true within 20 seconds (times MIXPEEK_SLOW), and the cluster is alive.
sub soon
{
	my ($name, $condition) = @_;
	local $MixpeekTest::timeout = 20 * ($ENV{MIXPEEK_SLOW} // 1);
	ok(eval { wait_for($name, $condition) }, $name);
	is($node->safe_psql('postgres', 'SELECT 1'), '1', "$name: the cluster is alive");
	return;
}

sub mirrored
{
	my ($table) = @_;
	return sql("SELECT count(*) FROM mixpeek.documents WHERE relation = '$table'::regclass AND state = 'mirrored'");
}

sub left
{
	my ($table) = @_;
	return sql("SELECT count(*) FROM mixpeek.outbox WHERE relation = '$table'::regclass");
}

# Inserts a row and waits until it is mirrored.
my $rows = 0;

sub insert_one
{
	my ($table) = @_;
	my $key = ++$rows;
	sql("INSERT INTO $table VALUES ('$key')");
	wait_for("row $key", sub {
		sql("SELECT state FROM mixpeek.documents WHERE relation = '$table'::regclass AND key = '$key'") eq 'mirrored';
	});
	return;
}

# How many entries of the outbox were read, when the statistics have all that was removed so far.
sub entries_read
{
	my ($table, $taken) = @_;
	wait_for('the statistics', sub {
		insert_one($table);
		return sql(q{SELECT n_tup_del >= } . $taken
			. q{ FROM pg_stat_all_tables WHERE relid = 'mixpeek.outbox'::regclass}) eq 't';
	});
	return sql(q{SELECT seq_tup_read FROM pg_stat_all_tables WHERE relid = 'mixpeek.outbox'::regclass});
}

# How many entries are read for each of 40 rows of a table, while others are in the outbox.
sub entries_a_row
{
	my ($table) = @_;
	my $taken = sql(q{SELECT n_tup_del FROM pg_stat_all_tables WHERE relid = 'mixpeek.outbox'::regclass});
	my $before = entries_read($table, $taken + 1);
	my $first = $rows;

	insert_one($table) for 1 .. 40;
	$taken = sql(q{SELECT n_tup_del FROM pg_stat_all_tables WHERE relid = 'mixpeek.outbox'::regclass});
	my $after = entries_read($table, $taken + 1);
	return ($after - $before) / ($rows - $first);
}

mirrored_table('healthy', 'healthy');
insert_one('healthy');

# Wake-ups while the worker waits for something else

sql(q{
	CREATE ROLE sleeper LOGIN;
	CREATE SCHEMA sleeper AUTHORIZATION sleeper;
	GRANT USAGE ON FOREIGN SERVER healthy TO sleeper;
	CREATE USER MAPPING FOR sleeper SERVER healthy OPTIONS (api_key 'sk_test');
	SET ROLE sleeper;
	CREATE FUNCTION sleeper.sleep() RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		IF pg_catalog.pg_backend_pid() <> ALL (SELECT pid FROM pg_catalog.pg_stat_get_activity(NULL)
			WHERE application_name = 'psql') THEN
			PERFORM pg_catalog.pg_sleep(2);
		END IF;
		RETURN true;
	END $$;
	CREATE TABLE sleeper.t (id text PRIMARY KEY);
	ALTER TABLE sleeper.t ENABLE ROW LEVEL SECURITY;
	ALTER TABLE sleeper.t FORCE ROW LEVEL SECURITY;
	CREATE POLICY p ON sleeper.t USING (sleeper.sleep()) WITH CHECK (true);
	SELECT mixpeek.mirror('sleeper.t', 'sleeper', server => 'healthy', backfill => false);
	INSERT INTO sleeper.t VALUES ('asleep')});
wait_for('the function to sleep', sub {
	sql(q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'}) > 0;
});
sql("INSERT INTO healthy VALUES ('while a function sleeps')");
soon("a commit while an owner's function sleeps is seen", sub { left('healthy') == 0 });
sql('DROP TABLE sleeper.t');

# The worker waits for the standby, and its latch is reset there; commits meanwhile must be seen.
$node->backup('standby');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'standby', has_streaming => 1);
$standby->start;
$node->append_conf('postgresql.conf', "synchronous_standby_names = '*'");
$node->reload;
wait_for('the standby to be synchronous', sub { sql('SELECT sync_state FROM pg_stat_replication') eq 'sync' });
insert_one('healthy');
my $receiver = $standby->safe_psql('postgres', 'SELECT pid FROM pg_stat_wal_receiver');
kill('STOP', $receiver);
sql("SET synchronous_commit = local; INSERT INTO healthy VALUES ('the worker waits for this')");
wait_for('the worker to wait for the standby', sub {
	sql(q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'
		AND backend_type = 'mixpeek_docs worker'}) == 1 });
sql("SET synchronous_commit = local; INSERT INTO healthy VALUES ('nobody is told of this')");
kill('CONT', $receiver);
soon('a commit while the worker waits for a standby is seen', sub { left('healthy') == 0 });
kill('STOP', $receiver);
sql("SET synchronous_commit = local; INSERT INTO healthy VALUES ('the worker waits again')");
wait_for('the worker to wait for the standby', sub {
	sql(q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'
		AND backend_type = 'mixpeek_docs worker'}) == 1 });
sql(q{SET synchronous_commit = local; ALTER SYSTEM SET mixpeek.enabled = off; SELECT pg_reload_conf()});
kill('CONT', $receiver);
wait_for('the outbox to be empty, or the worker to pause', sub {
	sql(q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'}) == 0;
});
sql(q{SET synchronous_commit = local; ALTER SYSTEM RESET mixpeek.enabled; SELECT pg_reload_conf()});
sql("SET synchronous_commit = local; INSERT INTO healthy VALUES ('after that')");
soon('a setting reloaded while the worker waits for a standby is seen', sub { left('healthy') == 0 });
my $client = IPC::Run::start([ 'psql', '-XAtqd', $node->connstr('postgres'), '-c', "SET application_name = 'client'",
	'-c', "INSERT INTO healthy VALUES ('of a client that waits')" ],
	'<', \undef, '>', \my $out, '2>', \my $err);
$client->finish;
soon('a commit that waited for the standby itself is seen', sub { left('healthy') == 0 });
$node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$node->reload;
$standby->stop('immediate');

# Changes of servers that take no more keys

create_server($node, 'slow', $api, requests_per_minute => '1');
mirrored_table('slow', 'slow');
sql("INSERT INTO slow SELECT generate_series(1, 200)");
wait_for('the first one', sub { mirrored('slow') > 0 });
cmp_ok(left('slow'), '>', 100, 'most rows of a server with one request a minute wait');
sql("ALTER SERVER slow OPTIONS (SET requests_per_minute '60000')");
soon('a raised rate takes effect for a server without room', sub { mirrored('slow') == 200 });

my $blocking = MixpeekTest::Server->new(enrich => 'never');
create_server($node, 'blocked', $blocking);
mirrored_table('blocked', 'blocked');
$blocking->faults({ kind => 'status', status => 429, headers => { 'Retry-After' => '3000' } });
sql('INSERT INTO blocked SELECT generate_series(1, 50)');
wait_for('the server to say when', sub {
	sql(q{SELECT count(*) FROM mixpeek.documents WHERE relation = 'blocked'::regclass AND state = 'pending'}) > 0;
});
sql("ALTER SERVER blocked OPTIONS (SET base_url '@{[ $api->url ]}')");
soon('another base_url takes effect for a server blocked by a 429', sub { mirrored('blocked') == 50 });
$blocking->stop;

create_server($node, 'refusing', $api, api_key => 'sk_wrong');
mirrored_table('refusing', 'refusing');
sql('INSERT INTO refusing SELECT generate_series(1, 50)');
wait_for('the server to be down', sub {
	sql(q{SELECT count(*) FROM mixpeek.documents WHERE relation = 'refusing'::regclass
		AND last_error LIKE '%401%'}) > 0;
});
sql("ALTER USER MAPPING FOR CURRENT_USER SERVER refusing OPTIONS (SET api_key 'sk_test')");
soon('another key takes effect for a server that is down', sub { mirrored('refusing') == 50 });

create_server($node, 'narrow', $api, max_connections => '1');
mirrored_table('narrow', 'narrow');
$api->faults({ kind => 'hang', body => 'hanging', count => 1 });
sql("INSERT INTO narrow VALUES ('1', 'hanging')");
wait_for('the request to be under way', sub { $api->stats->{faults} == 1 });
sql('INSERT INTO narrow SELECT generate_series(2, 50)');
sql("ALTER SERVER narrow OPTIONS (SET max_connections '4')");
soon('more connections take effect for a server whose only one hangs', sub { mirrored('narrow') == 49 });
sql('DROP TABLE narrow');

sql(q{CREATE ROLE late; CREATE SCHEMA late AUTHORIZATION late; CREATE USER MAPPING FOR late SERVER healthy
	OPTIONS (api_key 'sk_test')});
sql(q{GRANT USAGE ON FOREIGN SERVER healthy TO late; SET ROLE late; CREATE TABLE late.t (id text PRIMARY KEY);
	SELECT mixpeek.mirror('late.t', 'late', server => 'healthy', backfill => false)});
sql(q{REVOKE USAGE ON FOREIGN SERVER healthy FROM late; INSERT INTO late.t SELECT generate_series(1, 20)});
wait_for('the right to be missed', sub {
	sql(q{SELECT count(*) FROM mixpeek.documents WHERE relation = 'late.t'::regclass AND state = 'pending'}) > 0;
});
sql(q{GRANT USAGE ON FOREIGN SERVER healthy TO late});
soon('GRANT USAGE takes effect at once', sub { mirrored('late.t') == 20 });

# Backlogs

my $dead = 'http://127.0.0.1:' . unused_port();
create_server($node, 'dead', $dead);
mirrored_table('dead', 'dead');
sql('INSERT INTO dead SELECT generate_series(1, 50000)');
cmp_ok(entries_a_row('healthy'), '<', 3000, 'backlog of a dead server: rows of another one do not scan it each time');
sql("INSERT INTO healthy SELECT 'many ' || n FROM generate_series(1, 3000) n");
soon('backlog of a dead server: many rows of another one at once are seen', sub { left('healthy') == 0 });
sql("BEGIN; INSERT INTO healthy VALUES ('prepared'); PREPARE TRANSACTION 'p'");
sql("COMMIT PREPARED 'p'");
soon('backlog of a dead server: COMMIT PREPARED is seen', sub { left('healthy') == 0 });
sql(q{DO $$ BEGIN FOR i IN 1 .. 20000 LOOP BEGIN INSERT INTO healthy VALUES ('subtransaction ' || i); IF i % 2 = 0
	THEN RAISE EXCEPTION 'x'; END IF; EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; END $$});
soon('backlog of a dead server: subtransactions, some of them rolled back, are seen', sub { left('healthy') == 0 });
is(sql(q{SELECT count(*) FROM mixpeek.documents WHERE relation = 'healthy'::regclass
	AND key LIKE 'subtransaction %'}), '10000', 'backlog of a dead server: what was rolled back is not mirrored');
sql(q{INSERT INTO healthy SELECT 'a long key ' || repeat('x', 1000) || n FROM generate_series(1, 3000) n});
soon('backlog of a dead server: entries written before their commit are seen', sub { left('healthy') == 0 });
sql("COPY healthy (id) FROM PROGRAM 'seq -f copied%.0f 1000'");
soon('backlog of a dead server: COPY is seen', sub { left('healthy') == 0 });
sql("SELECT mixpeek.retry('healthy'); SELECT mixpeek.refresh('healthy')");
soon('backlog of a dead server: entries of retry() and refresh() are seen', sub { left('healthy') == 0 });
sql('VACUUM FULL mixpeek.outbox');
sql("INSERT INTO healthy VALUES ('after VACUUM FULL')");
soon('backlog of a dead server: a row after VACUUM FULL is seen', sub { left('healthy') == 0 });
cmp_ok(entries_a_row('healthy'), '<', 3000,
	'backlog of a dead server: it is scanned once after VACUUM FULL, not for each row');

$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
	WHERE backend_type = 'mixpeek_docs worker'; INSERT INTO healthy VALUES ('for the next worker')});
soon('backlog of a dead server: a new worker sees entries behind it', sub { left('healthy') == 0 });

my $locker = IPC::Run::start([ 'psql', '-XAtqd', $node->connstr('postgres') ], '<', \my $in, '>', \$out, '2>', \$err);
$in = "BEGIN; LOCK TABLE dead; SELECT 'locked';\n";
wait_for('the lock', sub { $locker->pump_nb; $out =~ /locked/ });
cmp_ok(entries_a_row('healthy'), '<', 3000,
	'backlog of a locked table: rows of another server do not scan it each time');
$in .= "ROLLBACK;\n\\q\n";
$locker->finish;

mirrored_table('limited', 'slow');
sql("ALTER SERVER slow OPTIONS (SET requests_per_minute '600')");
sql("INSERT INTO limited VALUES ('0')");
wait_for('the rate to count', sub { mirrored('limited') == 1 });    # what is claimed before that is sent first
sql('INSERT INTO limited SELECT generate_series(1, 50000)');
cmp_ok(entries_a_row('healthy'), '<', 3000,
	'backlog of a server with a rate: rows of another one do not scan it each time');
my $done = mirrored('limited');
wait_for('the limited server to go on', sub { mirrored('limited') > $done + 10 });
pass('backlog of a server with a rate: it gets shorter meanwhile');
mirrored_table('fair', 'slow');
sql("INSERT INTO fair VALUES ('1')");
soon('backlog of a server with a rate: a row of another table of it does not wait', sub { mirrored('fair') == 1 });
sql('TRUNCATE limited; DROP TABLE limited');
sql("ALTER SERVER slow OPTIONS (SET requests_per_minute '60000')");

# When the server is back, the whole backlog is found.
sql("ALTER SERVER dead OPTIONS (SET base_url '@{[ $api->url ]}')");
wait_for('the backlog to be worked off', sub { mirrored('dead') == 50000 && left('dead') == 0 });
pass('backlog of a dead server: no entry is left when it is back');

# Keys that are due

create_server($node, 'silent', $dead);
mirrored_table('silent', 'silent');
sql("INSERT INTO silent VALUES ('1')");
wait_for('the server to be down', sub {
	sql(q{SELECT count(*) FROM mixpeek.documents WHERE relation = 'silent'::regclass AND state = 'pending'}) > 0;
});
sql(q{INSERT INTO mixpeek.documents (relation, collection, key, document_id, state, content_hash, next_attempt_at,
	server, marker)
	SELECT 'silent'::regclass, 'silent', 'due ' || n, 'd' || n, 'mirrored', '', now(), 'silent', (SELECT id
	FROM mixpeek.origin) || ':public.silent:due ' || n
	FROM generate_series(1, 50000) n;
	ALTER SERVER silent OPTIONS (ADD request_timeout '7')});
$api->faults({ kind => 'status', status => 500, count => 20 });
sql("INSERT INTO healthy SELECT 'failing ' || n FROM generate_series(1, 20) n");
soon('due keys of a dead server: retries of another one do not wait for 50,000 of them',
	sub { sql(q{SELECT count(*) FROM mixpeek.documents WHERE relation = 'healthy'::regclass AND key LIKE 'failing %'
		AND state = 'mirrored'}) == 20 });

# mixpeek.wait() reads the entries it waits for, not the whole outbox each time.
mirrored_table('waiting', 'silent');
sql(q{INSERT INTO waiting SELECT generate_series(1, 20)});
my $hits = q{SELECT heap_blks_hit + heap_blks_read FROM pg_statio_all_tables WHERE relid = 'mixpeek.outbox'::regclass};
my $blocks = sql(q{SELECT pg_relation_size('mixpeek.outbox') / current_setting('block_size')::int});
cmp_ok($blocks, '>', 100, 'the outbox has many blocks');
my $before = sql($hits);
is(sql("SELECT mixpeek.wait('3 s')"), 'f', 'wait() for a dead server returns false in time');
cmp_ok(sql($hits) - $before, '<', $blocks * 20, 'wait() for a dead server does not read the whole outbox each time');
sql('DROP TABLE silent, waiting');

# A key that is too long, of a mirror that was dropped

sql(q{CREATE TABLE gone (id text PRIMARY KEY);
	CREATE TRIGGER m AFTER INSERT ON gone FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('gone', 'server=healthy')});
sql(q{BEGIN; INSERT INTO gone VALUES (repeat('long', 600)); DROP TRIGGER m ON gone; COMMIT});
soon('a key that is too long, of a mirror that was dropped, is removed from the outbox', sub { left('gone') == 0 });

# Entries that mean nothing

my $offset = -s $node->logfile;
sql(q{INSERT INTO mixpeek.outbox SELECT 'healthy'::regclass, o::"char", 'healthy', NULL
	FROM unnest('{I,U,D,K,R}'::text[]) o;
	INSERT INTO mixpeek.outbox VALUES ('healthy', 'X', 'healthy', '1'), (0, 'I', 'healthy', '1'), (0, 'B', 'healthy',
		NULL),
		('healthy', 'I', repeat('x', 1000000), '1'), ('healthy', 'I', '', repeat('y', 3000)), (4294967295, 'T',
		'none', NULL);
	INSERT INTO mixpeek.outbox SELECT 'healthy', 'U', 'healthy', repeat('z', 10000000) || n FROM generate_series(1,
		5) n;
	SELECT pg_reload_conf()});
soon('entries that mean nothing are removed',
	sub { sql(q{SELECT count(*) FROM mixpeek.outbox}) == 0 });
my @logged = grep { /entries of mixpeek.outbox that mean nothing/ } split(/\n/, slurp_file($node->logfile, $offset));
is(scalar(@logged), 1, 'entries that mean nothing: one log line');
like($logged[0], qr/LOG:  mixpeek_docs: \d+ entries/, 'entries that mean nothing: the log line has their number');
insert_one('healthy');
is(sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker'}), '1', 'one worker runs');
unlike(slurp_file($node->logfile),
	qr/server process .* was terminated by signal|worker" \(PID \d+\) was terminated by signal|TRAP/,
	'no process has crashed');

$node->stop;
done_testing();
