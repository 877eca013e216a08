# mixpeek.sync() and mixpeek.wait() beside a worker: they wait for it, and no error ends it.
use strict;
use warnings;
use MixpeekTest;
use MixpeekTest::Sync;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my ($node, $api) = sync_node('main',
	"shared_preload_libraries = 'mixpeek_docs'\nlog_min_messages = log\nmax_connections = 150");
my ($said, $session, @sessions, $began);
sql('CREATE DATABASE empty');
is(messages('\c empty' . "\nBEGIN; CREATE EXTENSION mixpeek_docs; ROLLBACK"), "\n",
	'CREATE EXTENSION where the library is preloaded says nothing');
sql('DROP DATABASE empty');
is(sql("SELECT mixpeek.wait('1 min')"), 't', 'worker, nothing to do: wait() returns true');
my $pids = pids();
sql('INSERT INTO t VALUES (1), (2)');
is(messages('SELECT mixpeek.wait()'), "t\n", 'worker, something to do: wait() returns true');
is(documents('t'), '1 2', 'worker, something to do: the rows are mirrored when wait() returns');
like(messages('CALL mixpeek.sync()'),
	qr/^\s*psql:\S* NOTICE:  00000: a worker mirrors this database: waiting for it\nLOCATION[^\n]*\s*$/,
	'worker: sync() waits for it');
is(sql("SELECT mixpeek.wait('0')"), 't', "worker, nothing to do: wait('0') returns true");

# The worker's lock
my $lock = "SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND classid = 'pg_extension'::regclass
	AND objsubid = 1 AND granted";
is(sql($lock), '1', 'the worker has its lock');
sql('SELECT pg_advisory_unlock_all(); DISCARD ALL');
is(sql("SELECT pg_try_advisory_lock(1835628656, 6645099), ($lock)"), 't|1',
	"no SQL function takes or releases the worker's lock");
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
is(sql('SELECT count(doc) FROM public.unlocks'), '1',
	'a write-back with a trigger that calls pg_advisory_unlock_all() is made');
is(sql($lock), '1', "a trigger that calls pg_advisory_unlock_all() does not release the worker's lock");

# Plans that a session prints
$api->faults({ kind => 'delay', ms => 1000, when => 'before' });
sql('INSERT INTO t VALUES (454545)');
$said = messages('SET client_min_messages = log; SET debug_print_plan = on; SET debug_print_parse = on;
	SET debug_print_rewritten = on;'
	. " SELECT mixpeek.wait('0.3s'); SELECT mixpeek.wait('1 min')", user => 'nobody');
like($said, qr/^f$.*^t$/ms, 'wait() by a role without rights returns false, then true');
unlike($said, qr/454545|52 53 52 53|53 52 53 52|documents/, "wait() prints no plan with others' keys");
$api->faults();

# 50 sessions that wait
$api->faults({ kind => 'delay', ms => 1500, when => 'before' });
sql('INSERT INTO t VALUES (3)');
@sessions = map { background($_ % 2 ? 'SELECT mixpeek.wait()' : 'CALL mixpeek.sync()') } 1 .. 50;
wait_for('50 sessions to wait', sub { sql($waits) eq '50' || $api->stats->{in_flight} == 0 });
my %answers;
$answers{ finish($_) =~ s/NOTICE.*//sr }++ foreach @sessions;
is_deeply(\%answers, { "t\n" => 25, '' => 25 }, '50 sessions in wait() and sync() return');
$api->faults();

# Sessions that are cancelled and terminated leave nothing behind
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

# The worker is terminated during a wait
$session = background('SELECT mixpeek.wait()');
wait_for('it', sub { sql($waits) eq '1' });
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker'");
$api->faults();
is(finish($session), "t\n", 'wait() during a change of workers returns true');
is(documents('t'), '1 2 3 4 454545', 'wait() during a change of workers returns when the rows are mirrored');

# A cancel does not end the worker
wait_for('the worker', sub { sql($workers) eq '1' });
sql('SELECT mixpeek.wait()');
$pids = pids();
sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker'");
$node->wait_for_log(
	qr/mixpeek_docs: the worker goes on after an error in 0.1 s: canceling statement due to user request/);
sql('INSERT INTO t VALUES (5); SELECT mixpeek.wait()');
is(pids(), $pids, 'pg_cancel_backend() does not end the worker');
is(documents('t'), '1 2 3 4 5 454545', 'pg_cancel_backend(): the worker goes on');

# Errors in a claim and in storing an outcome, from an index on mixpeek.documents
sql("CREATE TABLE bad (id int PRIMARY KEY); SELECT mixpeek.mirror('bad', 'bad')");
sql('SELECT mixpeek.wait()');
sql(q{
	CREATE FUNCTION public.refuse(relation oid, key text, state text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
		IF relation = 'public.bad'::regclass AND key = '13' THEN RAISE EXCEPTION 'refused by an index'; END IF;
			RETURN 0; END $$;
	CREATE INDEX refuse ON mixpeek.documents (public.refuse(relation, key, state));
	BEGIN; INSERT INTO bad VALUES (13); INSERT INTO t VALUES (6); COMMIT;
});
wait_for('the others', sub { documents('t') eq '1 2 3 4 5 6 454545' });
is(pids(), $pids, 'an error in a claim does not end the worker');
ok($node->wait_for_log(qr/mixpeek_docs: table "bad" is set aside for 5 seconds: the worker met an error/),
	'an error in a claim: its table is set aside');
is(sql('SELECT count(*) FROM mixpeek.outbox'), '1', 'an error in a claim: its entry stays in the outbox');
sql('INSERT INTO t VALUES (7)');
wait_for('the others', sub { documents('t') =~ / 7 / });
sql('DROP INDEX mixpeek.refuse; SELECT mixpeek.wait()');
is(documents('bad'), '13', 'an error in a claim: the row is mirrored when the cause is removed');

$api->faults({ kind => 'delay', ms => 1000, when => 'after', body => '"bad"' });
sql(q{
	CREATE OR REPLACE FUNCTION public.refuse(relation oid, key text, state text) RETURNS int
		LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
		IF relation = 'public.bad'::regclass AND key = '14' AND state = 'mirrored' THEN RAISE
			EXCEPTION 'refused by an index'; END IF; RETURN 0; END $$;
	CREATE INDEX refuse ON mixpeek.documents (public.refuse(relation, key, state));
	BEGIN; INSERT INTO bad SELECT generate_series(14, 20); INSERT INTO t VALUES (8); COMMIT; SELECT mixpeek.wait();
});
is(sql("SELECT state, last_error, document_id IS NOT NULL FROM mixpeek.documents WHERE relation = 'bad'::regclass
	AND key = '14'"),
	'failed|what came back could not be stored: refused by an index|t',
	'an outcome that cannot be stored: the record is failed');
is(sql("SELECT count(*) FROM mixpeek.documents WHERE state <> 'mirrored'"), '1',
	'an outcome that cannot be stored: no other record is failed');
is(pids(), $pids, 'an outcome that cannot be stored does not end the worker');
$api->faults();
sql(q{
	CREATE OR REPLACE FUNCTION public.refuse(relation oid, key text, state text) RETURNS int
		LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
		IF relation = 'public.bad'::regclass AND key = '21' AND state <> 'sending' THEN RAISE
			EXCEPTION 'refused by an index'; END IF; RETURN 0; END $$;
	BEGIN; INSERT INTO bad SELECT generate_series(21, 30); INSERT INTO t VALUES (9); COMMIT;
});
wait_for('the others', sub {
	sql("SELECT count(*) FROM mixpeek.documents WHERE state <> 'mirrored' AND key <> '14'") eq '1'
		&& documents('t') =~ / 9 /;
});
is(sql("SELECT key, state FROM mixpeek.documents WHERE state <> 'mirrored' AND key <> '14'"), '21|sending',
	'a record that cannot be changed stays sending, and no other does');
is(pids(), $pids, 'a record that cannot be changed does not end the worker');
sql('DROP INDEX mixpeek.refuse');
is(sql("SELECT mixpeek.wait('2 min')") . sql("SELECT state FROM mixpeek.documents WHERE key = '21'"), 'tfailed',
	'a record that can be changed again: wait() returns true');
is($api->stats->{duplicates}, 0, 'errors in claims and outcomes: no duplicates');
is(sql($lock), '1', 'errors in claims and outcomes: the worker still has its lock');

# Many keys that are due at one moment
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
is(sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'many'::regclass AND state = 'mirrored'"), '1800',
	'wait() for 1,800 pending keys returns when all are mirrored');

# A full disk: the worker goes on soon after it has room again
sql(q{
	CREATE OR REPLACE FUNCTION public.refuse(relation oid, key text, state text) RETURNS int
		LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
		IF state = 'sending' THEN RAISE EXCEPTION USING errcode = 'disk_full',
			message = 'no space left, says an index'; END IF; RETURN 0; END $$;
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
like(messages('CALL mixpeek.sync()'), qr/55000: nothing is mirrored: mixpeek.enabled is off/,
	'worker, mixpeek.enabled = off: sync() fails');
$session = background('SELECT mixpeek.wait()');
wait_for('it', sub { sql($waits) eq '1' });
is(messages("SET client_min_messages = warning; SET lock_timeout = '60s'; DROP EXTENSION mixpeek_docs CASCADE"), "\n",
	'DROP EXTENSION does not wait for wait()');
like(finish($session), qr/55000: no worker mirrors this database/,
	'wait() during DROP EXTENSION says that no worker is left');
$node->stop;

done_testing();
