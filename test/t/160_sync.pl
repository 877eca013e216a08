# mixpeek.sync() and mixpeek.wait() signal and wait: what they do, whom they tell what, and that no error
# ends the worker.
use strict;
use warnings;
use MixpeekTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $api = MixpeekTest::Server->new(enrich => 'never');
my ($node, $began);

sub sql
{
	my ($statement, %options) = @_;
	my @options = $options{user} ? (extra_params => [ '-U', $options{user} ]) : ();
	return $node->safe_psql('postgres', $statement, @options);
}

# What psql says of a statement: its output and all messages, with their codes.
sub messages
{
	my ($statement, %options) = @_;
	my @options = $options{user} ? (extra_params => [ '-U', $options{user} ]) : ();
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$statement", @options);
	return "$out\n$err";
}

# A session in the background, which runs a statement.
sub background
{
	my ($statement, %options) = @_;
	my $session = { out => '', err => '' };

	$session->{process} = IPC::Run::start(
		[ $node->installed_command('psql'), qw(-X -q -A -t -v VERBOSITY=verbose -d), $node->connstr('postgres') . ($options{user} ? " user=$options{user}" : ''), '-c', $statement ],
		'<', \undef, '>', \$session->{out}, '2>', \$session->{err});
	return $session;
}

sub finish
{
	my ($session) = @_;
	eval { $session->{process}->finish };
	return "$session->{out}$session->{err}";
}

my $workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker'";
my $waits = "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^(CALL mixpeek.sync|SELECT mixpeek.wait)' AND wait_event = 'Extension' AND backend_type = 'client backend'";

sub no_worker { wait_for('the worker to end', sub { sql($workers) eq '0' }); return; }

sub documents { return join(' ', map { "$_->{metadata}{id}" } sort { $a->{metadata}{id} <=> $b->{metadata}{id} } @{ $api->documents($_[0]) }); }

# The worker and the launcher are those that there were.
sub pids { return sql("SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity WHERE backend_type IN ('mixpeek_docs worker', 'mixpeek_docs launcher')"); }

sub set_up
{
	create_server($node, 'mixpeek', $api, request_timeout => 3);
	sql(q{
		CREATE ROLE nobody LOGIN;
		CREATE ROLE owner_a LOGIN;
		CREATE ROLE owner_b LOGIN;
		CREATE ROLE attacker LOGIN;
		GRANT CREATE, USAGE ON SCHEMA public TO owner_a, owner_b, attacker;
		GRANT USAGE ON FOREIGN SERVER mixpeek TO owner_a, owner_b;
		CREATE USER MAPPING FOR owner_a SERVER mixpeek OPTIONS (api_key 'sk_test');
		CREATE TABLE t (id int PRIMARY KEY, v text);
		SELECT mixpeek.mirror('t', 't');
	});
	return;
}

# Without preloading

$node = mixpeek_node('bare', "max_worker_processes = 3\nmax_parallel_workers = 0\nlog_min_messages = log");
set_up();

sql('CALL mixpeek.sync()');
$api->reset;
is(messages('SELECT mixpeek.wait()'), "t\n", 'no worker, nothing to do: wait() returns true');
sql('INSERT INTO t VALUES (1), (2)');
like(messages('SELECT mixpeek.wait()'), qr/55000: no worker mirrors this database/, 'no worker, something to do: wait() fails');
is($api->stats->{requests}, 0, 'no worker, something to do: wait() sends nothing');
is(messages('CALL mixpeek.sync()'), "\n", 'no worker: sync() starts one');
is(documents('t'), '1 2', 'no worker: sync() mirrors the rows');
is(sql($workers), '0', 'no worker: the one of sync() has ended when it returns');
is(messages('SELECT mixpeek.wait()'), "t\n", 'no worker: wait() after sync() returns true');
like(messages('BEGIN; CALL mixpeek.sync()'), qr/2D000: mixpeek.sync\(\) cannot run inside a transaction block/, 'sync() fails in a transaction block');
like(messages("DO \$\$ BEGIN INSERT INTO t VALUES (3); CALL mixpeek.sync(); END \$\$"), qr/^\s*$/, 'sync() in a DO block commits what it has done before');
is(documents('t'), '1 2 3', 'sync() in a DO block mirrors what it has done before');

# Attack 11: the caller's temporary tables, settings and notices are of no use, for nobody's function runs in its session.
sql(q{
	CREATE TABLE public.loot (whose text);
	GRANT ALL ON public.loot TO PUBLIC;
	SET ROLE owner_a;
	CREATE TABLE public.audit (who text, what text);
	CREATE TABLE public.victim (id int PRIMARY KEY, v text, doc text);
	CREATE FUNCTION public.victims_trigger() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS
		$$ BEGIN RAISE NOTICE 'key of the victim: %', NEW.id; INSERT INTO audit VALUES (current_user, NEW.v); RETURN NEW; END $$;
	CREATE TRIGGER audit BEFORE UPDATE ON public.victim FOR EACH ROW EXECUTE FUNCTION public.victims_trigger();
	GRANT ALL ON public.audit TO PUBLIC;
	SELECT mixpeek.mirror('public.victim', 'victim', document_id_column => 'doc');
	INSERT INTO public.victim VALUES (424242, 'secret');
	SET ROLE attacker;
	CREATE FUNCTION public.evil() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN INSERT INTO public.loot VALUES (current_user); RETURN NEW; END $$;
});
my $said = messages(q{
	CREATE TEMP TABLE audit (who text, what text);
	GRANT ALL ON audit TO PUBLIC;
	CREATE TRIGGER e BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION public.evil();
	SET client_min_messages = debug1;
	CALL mixpeek.sync();
}, user => 'attacker');
is(sql('SELECT count(*) FROM public.loot'), '0', "sync() runs no function among the caller's temporary tables");
unlike($said, qr/424242|victim/, "sync() shows its caller no notice of others' functions");
is(sql("SELECT state, last_error FROM mixpeek.documents WHERE relation = 'victim'::regclass"), 'mirrored|', 'sync() by another role mirrors the row');

# Attack 12, without preloading.
sql('INSERT INTO public.victim VALUES (434343, \'secret\')');
my $spy = 'SET client_min_messages = log; SET debug_print_plan = on; SET debug_print_parse = on; SET debug_print_rewritten = on;';
unlike(messages("$spy SELECT mixpeek.wait('0.3s'); CALL mixpeek.sync();", user => 'nobody'), qr/434343|52 51 52 51/,
	"sync() prints no plan with others' keys");

# What sync() says of servers.
sql('CREATE USER MAPPING FOR owner_b SERVER mixpeek OPTIONS (api_key \'sk_b\'); SET ROLE owner_b; CREATE TABLE public.b (id int PRIMARY KEY); SELECT mixpeek.mirror(\'public.b\', \'b\'); RESET ROLE; DROP USER MAPPING FOR owner_b SERVER mixpeek; INSERT INTO public.b VALUES (1)');
like(messages('CALL mixpeek.sync()'), qr/WARNING:.*nothing was sent: role "owner_b" has no API key for server "mixpeek"/, 'a server that cannot be used: sync() tells a superuser why');
sql('UPDATE mixpeek.documents SET next_attempt_at = now() WHERE state = \'pending\'');
like(messages('CALL mixpeek.sync()', user => 'owner_b'), qr/nothing was sent: role "owner_b"/, "a server that cannot be used: sync() tells the tables' owner why");
sql('UPDATE mixpeek.documents SET next_attempt_at = now() WHERE state = \'pending\'');
$said = messages('CALL mixpeek.sync()', user => 'nobody');
like($said, qr/nothing was sent for some tables of other roles/, 'a server that cannot be used: sync() tells other roles that there is one');
unlike($said, qr/owner_b/, 'a server that cannot be used: sync() does not tell other roles why');
sql('DROP TABLE public.b');

# Two at once, and a third who only waits.
$api->faults({ kind => 'delay', ms => 1500, when => 'before' });
sql('INSERT INTO t VALUES (4)');
my @sessions = map { background('CALL mixpeek.sync()') } 1 .. 2;
wait_for('the request', sub { $api->stats->{in_flight} > 0 });
is(sql($workers), '1', 'two sync() at once have one worker');
is(messages("SELECT mixpeek.wait('0.2s')"), "f\n", 'wait() beside two sync() gives up in time');
push @sessions, background('SELECT mixpeek.wait()');
is(finish($sessions[0]) . finish($sessions[1]), '', 'two sync() at once return');
is(finish($sessions[2]), "t\n", 'wait() beside two sync() returns true');
is(documents('t'), '1 2 3 4', 'two sync() at once mirror the row');
no_worker();

# Cancelled, and killed callers.
sql('INSERT INTO t VALUES (5)');
my $session = background('CALL mixpeek.sync()');
wait_for('the request', sub { $api->stats->{in_flight} > 0 });
sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query = 'CALL mixpeek.sync()'");
like(finish($session), qr/57014/, 'sync() can be cancelled');
no_worker();
pass('the worker of a cancelled sync() ends');
$session = background('CALL mixpeek.sync()');
wait_for('its worker', sub { sql($workers) eq '1' });
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'CALL mixpeek.sync()'");
like(finish($session), qr/57P01/, 'sync() can be terminated');
no_worker();
pass('the worker of a terminated sync() ends');
like(messages("SET statement_timeout = '500ms'; CALL mixpeek.sync()"), qr/57014/, 'statement_timeout holds for sync()');
no_worker();
$api->faults();
$session = background('CALL mixpeek.sync()');
wait_for('its worker', sub { sql($workers) eq '1' || !$session->{process}->pumpable });
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker'");
like(finish($session), qr/^$|55000: the worker has ended before it was done/, 'sync() whose worker is terminated says so');
is(messages('CALL mixpeek.sync()'), "\n", 'sync() after one whose worker was terminated returns');
is(documents('t'), '1 2 3 4 5', 'sync() after one whose worker was terminated mirrors the rows');
is($api->stats->{duplicates}, 0, 'sync() after one whose worker was terminated: no duplicates');

# No place for a worker.  A look at the victim's enrichments that is due now would start its owner's process, in the last place.
sql('DROP TABLE public.victim');
wait_for('earlier requests', sub { $api->stats->{in_flight} == 0 });
$api->faults({ kind => 'delay', ms => 5000 * ($ENV{MIXPEEK_SLOW} // 1), when => 'before' });
sql("ALTER SERVER mixpeek OPTIONS (SET request_timeout '30')");
sql('INSERT INTO t VALUES (6)');
sql('CREATE DATABASE other');
sql('CREATE DATABASE third');
$node->safe_psql($_, 'CREATE EXTENSION mixpeek_docs') foreach qw(other third);
create_server($node, 'mixpeek', $api, database => 'other', request_timeout => 30);
$node->safe_psql('other', "CREATE TABLE o (id int PRIMARY KEY); SELECT mixpeek.mirror('o', 'other'); INSERT INTO o VALUES (1)");
@sessions = (background('CALL mixpeek.sync()'), undef);
$sessions[1] = { out => '', err => '' };
$sessions[1]{process} = IPC::Run::start([ $node->installed_command('psql'), qw(-X -q -A -t -d), $node->connstr('other'), '-c', 'CALL mixpeek.sync()' ],
	'<', \undef, '>', \$sessions[1]{out}, '2>', \$sessions[1]{err});
wait_for('both requests', sub { $api->stats->{in_flight} == 2 && sql($workers) eq '2' });
my ($rc, $out, $err) = $node->psql('third', "\\set VERBOSITY verbose\nCALL mixpeek.sync()");
like($err, qr/53400: no background worker can be started.*max_worker_processes/s, 'sync() without a free place for a worker fails');
is(finish($sessions[0]) . finish($sessions[1]), '', 'sync() in the databases that have a worker returns');
$api->faults();
sql("ALTER SERVER mixpeek OPTIONS (SET request_timeout '3')");
sql('DROP DATABASE third');
sql('DROP DATABASE other');
pass('a database can be dropped when sync() has returned');

# A copy, mixpeek.enabled, a lock.
sql('CREATE DATABASE copied TEMPLATE postgres');
($rc, $out, $err) = $node->psql('copied', "\\set VERBOSITY verbose\nCALL mixpeek.sync()");
like($err, qr/55000: nothing is mirrored: this database is a copy.*adopt/s, 'sync() in a copy fails');
($rc, $out, $err) = $node->psql('copied', "\\set VERBOSITY verbose\nSELECT mixpeek.wait()");
like($err, qr/55000: nothing is mirrored: this database is a copy/, 'wait() in a copy fails');
sql('DROP DATABASE copied');
sql('ALTER DATABASE postgres SET mixpeek.enabled = off');
sql('INSERT INTO t VALUES (7)');
like(messages('CALL mixpeek.sync()'), qr/55000: nothing is mirrored: mixpeek.enabled is off/, 'sync() with mixpeek.enabled = off fails');
is(documents('t'), '1 2 3 4 5 6', 'sync() with mixpeek.enabled = off sends nothing');
sql('ALTER DATABASE postgres RESET mixpeek.enabled');
my $locker = background('BEGIN; LOCK TABLE t; SELECT pg_sleep(600)');
wait_for('the lock', sub { sql("SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND mode = 'AccessExclusiveLock'") eq '1' });
like(messages('CALL mixpeek.sync()'), qr/NOTICE:.*some changes were left for the next mixpeek.sync\(\)/, 'sync() with a locked table says that changes were left');
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'BEGIN; LOCK TABLE t%'");
finish($locker);
is(messages('CALL mixpeek.sync()'), "\n", 'sync() after a lock was released returns');

# A setting of the database's that is replica would not matter, nor do those of the session (attacks 64, 65).
sql("ALTER DATABASE postgres SET session_replication_role = replica; ALTER DATABASE postgres SET exit_on_error = on; ALTER DATABASE postgres SET default_transaction_read_only = on; ALTER DATABASE postgres SET enable_indexscan = off");
is(messages("SET default_transaction_read_only = off; SET session_replication_role = origin; INSERT INTO t VALUES (8); SET default_transaction_isolation = serializable; SET work_mem = 64; SET default_transaction_read_only = on; CALL mixpeek.sync()"),
	"\n", 'sync() with odd settings of database and session returns');
is(documents('t'), '1 2 3 4 5 6 7 8', 'sync() with odd settings of database and session mirrors the rows');
sql('SET default_transaction_read_only = off; ALTER DATABASE postgres RESET ALL');

# DROP EXTENSION meanwhile.
$api->faults({ kind => 'delay', ms => 2000, when => 'before' });
sql('INSERT INTO t VALUES (9)');
$session = background('CALL mixpeek.sync()');
wait_for('the request', sub { $api->stats->{in_flight} > 0 });
is(messages('SET client_min_messages = warning; SET lock_timeout = \'60s\'; DROP EXTENSION mixpeek_docs CASCADE'), "\n", 'DROP EXTENSION does not wait for sync()');
like(finish($session), qr/55000: the worker has ended before it was done/, 'sync() during DROP EXTENSION says that its worker has ended');
$api->faults();
$node->stop;

# Preloaded

wait_for('the last request', sub { $api->stats->{in_flight} == 0 });
$api->reset(documents => JSON::PP::true);
$node = mixpeek_node('main', "shared_preload_libraries = 'mixpeek_docs'\nlog_min_messages = log\nmax_connections = 150");
set_up();
is(sql("SELECT mixpeek.wait('1 min')"), 't', 'worker, nothing to do: wait() returns true');
my $pids = pids();
sql('INSERT INTO t VALUES (1), (2)');
is(messages('SELECT mixpeek.wait()'), "t\n", 'worker, something to do: wait() returns true');
is(documents('t'), '1 2', 'worker, something to do: the rows are mirrored when wait() returns');
like(messages('CALL mixpeek.sync()'), qr/^\s*psql:\S* NOTICE:  00000: a worker mirrors this database: waiting for it\nLOCATION[^\n]*\s*$/, 'worker: sync() waits for it');
is(sql("SELECT mixpeek.wait('0')"), 't', "worker, nothing to do: wait('0') returns true");

# Attack 9: the lock.
my $lock = "SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND classid = 'pg_extension'::regclass AND objsubid = 1 AND granted";
is(sql($lock), '1', 'the worker has its lock');
sql('SELECT pg_advisory_unlock_all(); DISCARD ALL');
is(sql("SELECT pg_try_advisory_lock(1835628656, 6645099), ($lock)"), 't|1', "no SQL function takes or releases the worker's lock");
sql(q{
	SET ROLE owner_a;
	CREATE TABLE public.unlocks (id int PRIMARY KEY, doc text);
	CREATE FUNCTION public.unlock() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN PERFORM pg_advisory_unlock_all(); PERFORM pg_advisory_lock(42); RETURN NEW; END $$;
	CREATE TRIGGER u BEFORE UPDATE ON public.unlocks FOR EACH ROW EXECUTE FUNCTION public.unlock();
	SELECT mixpeek.mirror('public.unlocks', 'unlocks', document_id_column => 'doc');
	INSERT INTO public.unlocks VALUES (1);
	SELECT mixpeek.wait();
});
is(sql('SELECT count(doc) FROM public.unlocks'), '1', 'a write-back with a trigger that calls pg_advisory_unlock_all() is made');
is(sql($lock), '1', "a trigger that calls pg_advisory_unlock_all() does not release the worker's lock");

# Attack 12.
$api->faults({ kind => 'delay', ms => 1000, when => 'before' });
sql('INSERT INTO t VALUES (454545)');
$said = messages('SET client_min_messages = log; SET debug_print_plan = on; SET debug_print_parse = on; SET debug_print_rewritten = on;'
	. " SELECT mixpeek.wait('0.3s'); SELECT mixpeek.wait('1 min')", user => 'nobody');
like($said, qr/^f$.*^t$/ms, 'wait() by a role without rights returns false, then true');
unlike($said, qr/454545|52 53 52 53|53 52 53 52|documents/, "wait() prints no plan with others' keys");
$api->faults();

# 50 who wait.
$api->faults({ kind => 'delay', ms => 1500, when => 'before' });
sql('INSERT INTO t VALUES (3)');
@sessions = map { background($_ % 2 ? 'SELECT mixpeek.wait()' : 'CALL mixpeek.sync()') } 1 .. 50;
wait_for('50 sessions to wait', sub { sql($waits) eq '50' || $api->stats->{in_flight} == 0 });
my %answers;
$answers{ finish($_) =~ s/NOTICE.*//sr }++ foreach @sessions;
is_deeply(\%answers, { "t\n" => 25, '' => 25 }, '50 sessions in wait() and sync() return');
$api->faults();

# Killed, cancelled and timed out ones leave nothing behind.
$api->faults({ kind => 'delay', ms => 2000, when => 'before' });
sql('INSERT INTO t VALUES (4)');
$session = background('SELECT mixpeek.wait()');
wait_for('it', sub { sql($waits) eq '1' });
sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT mixpeek.wait()'");
like(finish($session), qr/57014/, 'wait() can be cancelled');
is(messages("SELECT mixpeek.wait('0.1s')"), "f\n", 'wait() after one that was cancelled returns false in time');
$session = background('SELECT mixpeek.wait()');
wait_for('it', sub { sql($waits) eq '1' });
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT mixpeek.wait()'");
like(finish($session), qr/57P01/, 'wait() can be terminated');

# The worker is killed during a wait.
$session = background('SELECT mixpeek.wait()');
wait_for('it', sub { sql($waits) eq '1' });
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker'");
$api->faults();
is(finish($session), "t\n", 'wait() during a change of workers returns true');
is(documents('t'), '1 2 3 4 454545', 'wait() during a change of workers returns when the rows are mirrored');

# D16: a cancel does not end the worker.
wait_for('the worker', sub { sql($workers) eq '1' });
sql('SELECT mixpeek.wait()');
$pids = pids();
sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker'");
$node->wait_for_log(qr/mixpeek_docs: the worker goes on after an error in 0.1 s: canceling statement due to user request/);
sql('INSERT INTO t VALUES (5); SELECT mixpeek.wait()');
is(pids(), $pids, 'pg_cancel_backend() does not end the worker');
is(documents('t'), '1 2 3 4 5 454545', 'pg_cancel_backend(): the worker goes on');

# An error in a claim, in storing an outcome, and of nobody in particular: a superuser's index on mixpeek.documents.
sql(q{
	CREATE TABLE bad (id int PRIMARY KEY);
	SELECT mixpeek.mirror('bad', 'bad');
	CREATE FUNCTION public.refuse(relation oid, key text, state text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
		IF relation = 'public.bad'::regclass AND key = '13' THEN RAISE EXCEPTION 'refused by an index'; END IF; RETURN 0; END $$;
	CREATE INDEX refuse ON mixpeek.documents (public.refuse(relation, key, state));
	BEGIN; INSERT INTO bad VALUES (13); INSERT INTO t VALUES (6); COMMIT;
});
wait_for('the others', sub { documents('t') eq '1 2 3 4 5 6 454545' });
is(pids(), $pids, 'an error in a claim does not end the worker');
ok($node->wait_for_log(qr/mixpeek_docs: table "bad" is set aside for 5 seconds: the worker met an error/), 'an error in a claim: its table is set aside');
is(sql('SELECT count(*) FROM mixpeek.outbox'), '1', 'an error in a claim: its entry stays in the outbox');
sql('INSERT INTO t VALUES (7)');
wait_for('the others', sub { documents('t') =~ / 7 / });
sql('DROP INDEX mixpeek.refuse; SELECT mixpeek.wait()');
is(documents('bad'), '13', 'an error in a claim: the row is mirrored when the cause is removed');

$api->faults({ kind => 'delay', ms => 1000, when => 'after', body => '"bad"' });
sql(q{
	CREATE OR REPLACE FUNCTION public.refuse(relation oid, key text, state text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
		IF relation = 'public.bad'::regclass AND key = '14' AND state = 'mirrored' THEN RAISE EXCEPTION 'refused by an index'; END IF; RETURN 0; END $$;
	CREATE INDEX refuse ON mixpeek.documents (public.refuse(relation, key, state));
	BEGIN; INSERT INTO bad SELECT generate_series(14, 20); INSERT INTO t VALUES (8); COMMIT; SELECT mixpeek.wait();
});
is(sql("SELECT state, last_error, document_id IS NOT NULL FROM mixpeek.documents WHERE relation = 'bad'::regclass AND key = '14'"),
	'failed|what came back could not be stored: refused by an index|t', 'an outcome that cannot be stored: the record is failed');
is(sql("SELECT count(*) FROM mixpeek.documents WHERE state <> 'mirrored'"), '1', 'an outcome that cannot be stored: no other record is failed');
is(pids(), $pids, 'an outcome that cannot be stored does not end the worker');
$api->faults();
sql(q{
	CREATE OR REPLACE FUNCTION public.refuse(relation oid, key text, state text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
		IF relation = 'public.bad'::regclass AND key = '21' AND state <> 'sending' THEN RAISE EXCEPTION 'refused by an index'; END IF; RETURN 0; END $$;
	BEGIN; INSERT INTO bad SELECT generate_series(21, 30); INSERT INTO t VALUES (9); COMMIT;
});
wait_for('the others', sub { sql("SELECT count(*) FROM mixpeek.documents WHERE state <> 'mirrored' AND key <> '14'") eq '1' && documents('t') =~ / 9 / });
is(sql("SELECT key, state FROM mixpeek.documents WHERE state <> 'mirrored' AND key <> '14'"), '21|sending', 'a record that cannot be changed stays sending, and no other does');
is(pids(), $pids, 'a record that cannot be changed does not end the worker');
sql('DROP INDEX mixpeek.refuse');
is(sql("SELECT mixpeek.wait('2 min')") . sql("SELECT state FROM mixpeek.documents WHERE key = '21'"), 'tfailed', 'a record that can be changed again: wait() returns true');
is($api->stats->{duplicates}, 0, 'errors in claims and outcomes: no duplicates');
is(sql($lock), '1', 'errors in claims and outcomes: the worker still has its lock');

# Many keys that are due at one moment.
sql(q{
	CREATE TABLE many (id int PRIMARY KEY);
	SELECT mixpeek.mirror('many', 'many');
	INSERT INTO many SELECT generate_series(1, 1800);
	SELECT mixpeek.wait();
	UPDATE mixpeek.documents SET state = 'pending', next_attempt_at = now() + '100 s' WHERE relation = 'many'::regclass;
});
is(sql("SELECT mixpeek.wait('1.5s')"), 'f', 'wait() for 1,800 pending keys returns false in time');
$began = time();
unlike(messages('CALL mixpeek.sync()'), qr/WARNING/, 'sync() with 1,800 pending keys gives no warning');
cmp_ok(time() - $began, '<', 20, 'sync() with 1,800 pending keys returns within 20 s');
sql('INSERT INTO t VALUES (100)');
wait_for('others', sub { documents('t') =~ / 100 / });
$session = background('SELECT mixpeek.wait()');
wait_for('it', sub { sql($waits) eq '1' });
sql("UPDATE mixpeek.documents SET next_attempt_at = now() WHERE relation = 'many'::regclass; CALL mixpeek.sync()");
is(finish($session), "t\n", 'wait() for 1,800 pending keys returns true when they are due');
is(sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'many'::regclass AND state = 'mirrored'"), '1800', 'wait() for 1,800 pending keys returns when all are mirrored');

# Nobody's error: it goes on within 10 s of the end of it.
sql(q{
	CREATE OR REPLACE FUNCTION public.refuse(relation oid, key text, state text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
		IF state = 'sending' THEN RAISE EXCEPTION USING errcode = 'disk_full', message = 'no space left, says an index'; END IF; RETURN 0; END $$;
	CREATE INDEX refuse ON mixpeek.documents (public.refuse(relation, key, state));
	INSERT INTO t VALUES (10);
});
$node->wait_for_log(qr/mixpeek_docs: the worker goes on after an error in 2 s: no space left, says an index/);
is(messages("SELECT mixpeek.wait('0.1s')"), "f\n", 'wait() while the disk is full returns false');
sql('DROP INDEX mixpeek.refuse');
$began = time();
is(sql("SELECT mixpeek.wait('1 min')"), 't', 'wait() after the disk was full returns true');
cmp_ok(time() - $began, '<', 12, 'wait() after the disk was full returns within 12 s');
is(pids(), $pids, 'a full disk does not end the worker');

# A copy, mixpeek.enabled, DROP EXTENSION
$node->append_conf('postgresql.conf', "mixpeek.enabled = off\n");
$node->reload;
wait_for('the worker to pause', sub { sql("SELECT current_setting('mixpeek.enabled')") eq 'off' });
sql('INSERT INTO t VALUES (11)');
is(messages("SELECT mixpeek.wait('0.3s')"), "f\n", 'worker, mixpeek.enabled = off: wait() returns false');
like(messages('CALL mixpeek.sync()'), qr/55000: nothing is mirrored: mixpeek.enabled is off/, 'worker, mixpeek.enabled = off: sync() fails');
$session = background('SELECT mixpeek.wait()');
wait_for('it', sub { sql($waits) eq '1' });
is(messages("SET client_min_messages = warning; SET lock_timeout = '60s'; DROP EXTENSION mixpeek_docs CASCADE"), "\n", 'DROP EXTENSION does not wait for wait()');
like(finish($session), qr/55000: no worker mirrors this database/, 'wait() during DROP EXTENSION says that no worker is left');
$node->stop;

done_testing();
