# mixpeek.sync() and mixpeek.wait() where the library is not preloaded: sync() starts a worker, which does all there is
# to do.
use strict;
use warnings;
use MixpeekTest;
use MixpeekTest::Mirror qw(differences);
use MixpeekTest::Sync;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my ($node, $api) = sync_node('bare', "max_worker_processes = 3\nmax_parallel_workers = 0\nlog_min_messages = log");

sql('CALL mixpeek.sync()');
$api->reset;
is(messages('SELECT mixpeek.wait()'), "t\n", 'no worker, nothing to do: wait() returns true');
sql('INSERT INTO t VALUES (1), (2)');
like(messages('SELECT mixpeek.wait()'), qr/55000: no worker mirrors this database/,
	'no worker, something to do: wait() fails');
is($api->stats->{requests}, 0, 'no worker, something to do: wait() sends nothing');
is(messages('CALL mixpeek.sync()'), "\n", 'no worker: sync() starts one');
is(documents('t'), '1 2', 'no worker: sync() mirrors the rows');
is(sql($workers), '0', 'no worker: the one of sync() has ended when it returns');
is(messages('SELECT mixpeek.wait()'), "t\n", 'no worker: wait() after sync() returns true');
like(messages('BEGIN; CALL mixpeek.sync()'), qr/2D000: mixpeek.sync\(\) cannot run inside a transaction block/,
	'sync() fails in a transaction block');
like(messages("DO \$\$ BEGIN INSERT INTO t VALUES (3); CALL mixpeek.sync(); END \$\$"), qr/^\s*$/,
	'sync() in a DO block commits what it has done before');
is(documents('t'), '1 2 3', 'sync() in a DO block mirrors what it has done before');

# No owner's function runs in the session that calls sync(), so its temporary tables, settings and notices do not matter
sql(q{
	CREATE TABLE public.loot (whose text);
	GRANT ALL ON public.loot TO PUBLIC;
	SET ROLE owner_a;
	CREATE TABLE public.audit (who text, what text);
	CREATE TABLE public.victim (id int PRIMARY KEY, v text, doc text);
	CREATE FUNCTION public.victims_trigger() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS
		$$ BEGIN RAISE NOTICE 'key of the victim: %', NEW.id; INSERT INTO audit VALUES (current_user, NEW.v);
		RETURN NEW; END $$;
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
is(sql("SELECT state, last_error FROM mixpeek.documents WHERE relation = 'victim'::regclass"), 'mirrored|',
	'sync() by another role mirrors the row');

# Plans that a session prints
sql('INSERT INTO public.victim VALUES (434343, \'secret\')');
my $spy = 'SET client_min_messages = log; SET debug_print_plan = on; SET debug_print_parse = on;
	SET debug_print_rewritten = on;';
unlike(messages("$spy SELECT mixpeek.wait('0.3s'); CALL mixpeek.sync();", user => 'nobody'), qr/434343|52 51 52 51/,
	"sync() prints no plan with others' keys");

# What sync() says of servers that cannot be used
sql('CREATE USER MAPPING FOR owner_b SERVER mixpeek OPTIONS (api_key \'sk_b\'); SET ROLE owner_b;
	CREATE TABLE public.b (id int PRIMARY KEY); SELECT mixpeek.mirror(\'public.b\', \'b\');
		RESET ROLE; DROP USER MAPPING FOR owner_b SERVER mixpeek; INSERT INTO public.b VALUES (1)');
like(messages('CALL mixpeek.sync()'),
	qr/WARNING:.*nothing was sent: role "owner_b" has no API key for server "mixpeek"/,
	'a server that cannot be used: sync() tells a superuser why');
sql('UPDATE mixpeek.documents SET next_attempt_at = now() WHERE state = \'pending\'');
like(messages('CALL mixpeek.sync()', user => 'owner_b'), qr/nothing was sent: role "owner_b"/,
	"a server that cannot be used: sync() tells the tables' owner why");
sql('UPDATE mixpeek.documents SET next_attempt_at = now() WHERE state = \'pending\'');
$said = messages('CALL mixpeek.sync()', user => 'nobody');
like($said, qr/nothing was sent for some tables of other roles/,
	'a server that cannot be used: sync() tells other roles that there is one');
unlike($said, qr/owner_b/, 'a server that cannot be used: sync() does not tell other roles why');
sql('DROP TABLE public.b');

# Two sync() at once, and a third session in wait()
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

# Callers that are cancelled and terminated
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
like(finish($session), qr/^$|55000: the worker has ended before it was done/,
	'sync() whose worker is terminated says so');
is(messages('CALL mixpeek.sync()'), "\n", 'sync() after one whose worker was terminated returns');
is(documents('t'), '1 2 3 4 5', 'sync() after one whose worker was terminated mirrors the rows');
is($api->stats->{duplicates}, 0, 'sync() after one whose worker was terminated: no duplicates');

# No place for a worker. A poll of the victim's document would start an agent, which would take the last place.
sql('DROP TABLE public.victim');
wait_for('earlier requests', sub { $api->stats->{in_flight} == 0 });
$api->faults({ kind => 'delay', ms => 5000 * ($ENV{MIXPEEK_SLOW} // 1), when => 'before' });
sql("ALTER SERVER mixpeek OPTIONS (SET request_timeout '30')");
sql('INSERT INTO t VALUES (6)');
sql('CREATE DATABASE other');
sql('CREATE DATABASE third');
$node->safe_psql($_, 'CREATE EXTENSION mixpeek_docs') foreach qw(other third);
create_server($node, 'mixpeek', $api, database => 'other', request_timeout => 30);
$node->safe_psql('other', "CREATE TABLE o (id int PRIMARY KEY); SELECT mixpeek.mirror('o', 'other'); INSERT INTO o
	VALUES (1)");
@sessions = (background('CALL mixpeek.sync()'), background('CALL mixpeek.sync()', 'other'));
# A document that is polled at the moment is a third request.
wait_for('both requests', sub { $api->stats->{in_flight} >= 2 && sql($workers) eq '2' });
my ($rc, $out, $err) = $node->psql('third', "\\set VERBOSITY verbose\nCALL mixpeek.sync()");
like($err, qr/53400: no background worker can be started.*max_worker_processes/s,
	'sync() without a free place for a worker fails');
is(finish($sessions[0]) . finish($sessions[1]), '', 'sync() in the databases that have a worker returns');
$api->faults();
sql("ALTER SERVER mixpeek OPTIONS (SET request_timeout '3')");
sql('DROP DATABASE third');
sql('DROP DATABASE other');
pass('a database can be dropped when sync() has returned');

# A copy, mixpeek.enabled, a lock
sql('CREATE DATABASE copied TEMPLATE postgres');
($rc, $out, $err) = $node->psql('copied', "\\set VERBOSITY verbose\nCALL mixpeek.sync()");
like($err, qr/55000: nothing is mirrored: this database is a copy.*adopt/s, 'sync() in a copy fails');
($rc, $out, $err) = $node->psql('copied', "\\set VERBOSITY verbose\nSELECT mixpeek.wait()");
like($err, qr/55000: nothing is mirrored: this database is a copy/, 'wait() in a copy fails');
sql('DROP DATABASE copied');
sql('ALTER DATABASE postgres SET mixpeek.enabled = off');
sql('INSERT INTO t VALUES (7)');
like(messages('CALL mixpeek.sync()'), qr/55000: nothing is mirrored: mixpeek.enabled is off/,
	'sync() with mixpeek.enabled = off fails');
is(documents('t'), '1 2 3 4 5 6', 'sync() with mixpeek.enabled = off sends nothing');
sql('ALTER DATABASE postgres RESET mixpeek.enabled');
my $locker = background('BEGIN; LOCK TABLE t; SELECT pg_sleep(600)');
wait_for('the lock', sub {
	sql("SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND mode = 'AccessExclusiveLock'") eq '1';
});
like(messages('CALL mixpeek.sync()'), qr/NOTICE:.*some changes were left for the next mixpeek.sync\(\)/,
	'sync() with a locked table says that changes were left');
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'BEGIN; LOCK TABLE t%'");
finish($locker);
is(messages('CALL mixpeek.sync()'), "\n", 'sync() after a lock was released returns');

# Settings of the database and of the session do not matter
sql("ALTER DATABASE postgres SET session_replication_role = replica; ALTER DATABASE postgres SET exit_on_error = on;
	ALTER DATABASE postgres SET default_transaction_read_only = on; ALTER DATABASE postgres
		SET enable_indexscan = off");
is(messages("SET default_transaction_read_only = off; SET session_replication_role = origin; INSERT INTO t VALUES (8);
	SET default_transaction_isolation = serializable; SET work_mem = 64; SET default_transaction_read_only = on;
		CALL mixpeek.sync()"),
	"\n", 'sync() with odd settings of database and session returns');
is(documents('t'), '1 2 3 4 5 6 7 8', 'sync() with odd settings of database and session mirrors the rows');
sql('SET default_transaction_read_only = off; ALTER DATABASE postgres RESET ALL');

# DROP EXTENSION during sync()
$api->faults({ kind => 'delay', ms => 2000, when => 'before' });
sql('INSERT INTO t VALUES (9)');
$session = background('CALL mixpeek.sync()');
wait_for('the request', sub { $api->stats->{in_flight} > 0 });
is(messages('SET client_min_messages = warning; SET lock_timeout = \'60s\'; DROP EXTENSION mixpeek_docs CASCADE'),
	"\n", 'DROP EXTENSION does not wait for sync()');
like(finish($session), qr/55000: the worker has ended before it was done/,
	'sync() during DROP EXTENSION says that its worker has ended');
$api->faults();

# CREATE EXTENSION
like(messages('CREATE EXTENSION mixpeek_docs'),
	qr/NOTICE:  00000: nothing is mirrored in the background, because mixpeek_docs is not in shared_preload_libraries\nHINT:  [^\n]*CALL mixpeek\.sync\(\)/,
	'CREATE EXTENSION says that the library is not preloaded, and what to do');
is(messages('SET client_min_messages = warning; DROP EXTENSION mixpeek_docs; CREATE EXTENSION mixpeek_docs'), "\n",
	'CREATE EXTENSION in a script of pg_dump, which shows no notices, says nothing');
$node->stop;

# Rows and documents after sync()

my $own = MixpeekTest::Server->new(enrich => 'now');
my $bare = mixpeek_node('rows', 'jit = off');
create_server($bare, 'mixpeek', $own);
$bare->safe_psql('postgres', q{
	CREATE TABLE synced (id int PRIMARY KEY, v text);
	INSERT INTO synced SELECT g, 'v' || g FROM generate_series(1, 1500) g;
	SELECT mixpeek.mirror('synced', 'synced');
});
$own->reset;
($rc, $out, $err) = $bare->psql('postgres', "\\set VERBOSITY verbose\nSELECT mixpeek.wait()");
like($err, qr/55000: no worker mirrors this database.*shared_preload_libraries/s,
	'wait() without a worker fails, and names shared_preload_libraries');
is($own->stats->{requests}, 0, 'wait() without a worker sends nothing');
$bare->safe_psql('postgres', 'CALL mixpeek.sync()');
is($bare->safe_psql('postgres', 'SELECT count(*) FROM mixpeek.outbox'), '0',
	'sync() without a worker empties the outbox');
is(differences('synced', 'synced', node => $bare, server => $own), '',
	'sync() without a worker: the documents equal the rows');
$bare->safe_psql('postgres', "UPDATE synced SET v = 'w' WHERE id <= 10; DELETE FROM synced WHERE id > 1000;
	INSERT INTO synced VALUES (9000, 'new'); CALL mixpeek.sync()");
is(differences('synced', 'synced', node => $bare, server => $own), '',
	'a second sync() without a worker: the documents equal the rows');
is($own->stats->{duplicates}, 0, 'sync() without a worker: no duplicates');
$own->reset;
$bare->safe_psql('postgres', 'CALL mixpeek.sync()');
is($own->stats->{requests}, 0, 'sync() with nothing to do sends nothing');
($rc, $out, $err) = $bare->psql('postgres', "\\set VERBOSITY verbose\nBEGIN; CALL mixpeek.sync()");
like($err, qr/2D000: mixpeek.sync\(\) cannot run inside a transaction block/, 'sync() fails in a transaction block');
$bare->stop;

done_testing();
