# The worker's rights: it uses the table owner's key, reads the rows that the owner may read, and runs functions with
# the owner's rights at most.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;

my $node = mixpeek_node('main', q{
shared_preload_libraries = 'mixpeek_docs'
mixpeek.max_attempts = 3
mixpeek.retry_max_delay = 1
});
my @people = qw(alice bob writer mallory);
my $api = MixpeekTest::Server->new(api_key => [ 'sk_root', 'sk_public', map { "sk_$_" } @people ], record => 1,
	enrich => 'now');

sub sql
{
	my ($statement, $role) = @_;
	return $node->safe_psql('postgres', (defined $role ? "SET SESSION AUTHORIZATION $role; " : '') . $statement);
}

# The error of a role's statement, '' if there is none.
sub refusal
{
	my ($role, $statement) = @_;
	my (undef, undef, $stderr) = $node->psql('postgres', "SET SESSION AUTHORIZATION $role; $statement");
	return $stderr =~ /ERROR:\s+(.*)/ ? $1 : '';
}

# Wait until the key's record is in the state; its state, attempts and error.
sub wait_for_state
{
	my ($table, $key, $state) = @_;
	return wait_for("$table $key to be $state", sub {
		my $line = sql(qq{
			SELECT concat_ws(' ', state, attempts, last_error) FROM mixpeek.documents
			WHERE relation = '$table'::regclass AND key = '$key'
				AND NOT EXISTS (SELECT FROM mixpeek.outbox o WHERE o.relation = '$table'::regclass)});
		return $line =~ /^$state\b/ ? $line : undef;
	});
}

# The roles whose keys were used since the last call.
sub keys_used
{
	my %used = map { ($_->{authorization} =~ s/^Bearer sk_//r) => 1 } @{ $api->requests };
	$api->reset;
	return join(' ', sort keys %used);
}

my $worker = sub { sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker'") };

create_server($node, 'mixpeek', $api, api_key => 'sk_root', request_timeout => 5);
sql(join('', map { qq{
	CREATE ROLE $_ LOGIN;
	CREATE SCHEMA $_ AUTHORIZATION $_;
	CREATE USER MAPPING FOR $_ SERVER mixpeek OPTIONS (api_key 'sk_$_');
} } @people) . 'GRANT USAGE ON FOREIGN SERVER mixpeek TO alice, mallory');

# Whose key

sql(q{
	CREATE TABLE alice.t (id int PRIMARY KEY, v text);
	SELECT mixpeek.mirror('alice.t', 'alice');
	GRANT INSERT ON alice.t TO writer;
	GRANT USAGE ON SCHEMA alice TO writer, mallory;
	GRANT TRIGGER ON alice.t TO mallory}, 'alice');
my $pid = wait_for('the worker', $worker);
sql('INSERT INTO alice.t VALUES (1)', 'alice');
sql('INSERT INTO alice.t VALUES (2)', 'writer');
sql('INSERT INTO alice.t VALUES (3)');
wait_for_state('alice.t', $_, 'mirrored') for 1 .. 3;
is(keys_used(), 'alice', "the owner's key is used for inserts, whoever writes");
sql("UPDATE alice.t SET v = 'new' WHERE id = 1; DELETE FROM alice.t WHERE id = 2");
wait_for('the changes', sub { my $stats = $api->stats; $stats->{updates} == 1 && $stats->{deletes} == 1 });
is(keys_used(), 'alice', "the owner's key is used for updates and deletes");

# Rows that wait for a right, a key or a server, and what lets them go on

sub waits_for
{
	my ($name, $take, $error, $give) = @_;
	my ($id) = sql('SELECT max(id) + 1 FROM alice.t');

	sql($take);
	sql("INSERT INTO alice.t VALUES ($id)", 'writer');
	like(wait_for_state('alice.t', $id, 'pending'), qr/^pending 0 $error$/,
		"$name: the row is pending, with the reason");
	is(keys_used(), '', "$name: nothing is sent");
	sql($give);
	like(wait_for_state('alice.t', $id, 'mirrored'), qr/^mirrored 0$/,
		"$name: the row is mirrored when the cause is removed");
	return keys_used();
}

is(waits_for('owner without USAGE', 'REVOKE USAGE ON FOREIGN SERVER mixpeek FROM alice',
	'permission denied for foreign server mixpeek',
		'GRANT USAGE ON FOREIGN SERVER mixpeek TO alice'), 'alice', "USAGE granted again: the owner's key is used");
is(waits_for('owner without a mapping', 'DROP USER MAPPING FOR alice SERVER mixpeek',
	'role "alice" has no API key for server "mixpeek"',
		"CREATE USER MAPPING FOR PUBLIC SERVER mixpeek OPTIONS (api_key 'sk_public')"), 'public',
		'a mapping for PUBLIC: its key is used');
sql("DROP USER MAPPING FOR PUBLIC SERVER mixpeek; CREATE USER MAPPING FOR alice SERVER mixpeek
	OPTIONS (api_key 'sk_alice')");
is(waits_for('mirror without its server', 'ALTER SERVER mixpeek RENAME TO away', 'server "mixpeek" does not exist',
	'ALTER SERVER away RENAME TO mixpeek'),
	'alice', "a server renamed and renamed back: the owner's key is used");
is(waits_for('owner without USAGE, before a membership',
	'CREATE ROLE users; GRANT USAGE ON FOREIGN SERVER mixpeek TO users; REVOKE USAGE ON FOREIGN SERVER mixpeek
		FROM alice',
		'permission denied for foreign server mixpeek', 'GRANT users TO alice'), 'alice',
		"USAGE by membership: the owner's key is used");

# Another role's server

sql(qq{
	GRANT USAGE ON FOREIGN DATA WRAPPER mixpeek_docs TO bob;
	SET SESSION AUTHORIZATION bob;
	CREATE SERVER bobs FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (base_url '@{[ $api->url ]}', namespace 'test');
	GRANT USAGE ON FOREIGN SERVER bobs TO alice;
	SET SESSION AUTHORIZATION alice;
	CREATE USER MAPPING FOR alice SERVER bobs OPTIONS (api_key 'sk_alice');
	CREATE TABLE alice.at_bobs (id int PRIMARY KEY);
	SELECT mixpeek.mirror('alice.at_bobs', 'at_bobs', server => 'bobs');
	INSERT INTO alice.at_bobs VALUES (1)});
wait_for_state('alice.at_bobs', 1, 'mirrored');
is(keys_used(), 'alice', "another role's server is used with the table owner's key");
like(refusal('mallory', "CREATE TABLE mallory.x (id int PRIMARY KEY); SELECT mixpeek.mirror('mallory.x', 'x',
	server => 'bobs')"),
	qr/^permission denied for foreign server bobs/, 'mirror() needs USAGE on the server');
like(refusal('bob', "CREATE TABLE bob.x (id int PRIMARY KEY); SELECT mixpeek.mirror('bob.x', 'x', server => 'bobs')"),
	qr/^role "bob" has no API key/, 'mirror() needs an API key');
is(refusal('alice', 'ALTER SERVER bobs OPTIONS (SET namespace \'x\')'), 'must be owner of foreign server bobs',
	"another role's server can be altered by its owner only");

# The right to create triggers does not include sending rows or writing columns
like(refusal('mallory', "CREATE TRIGGER x AFTER INSERT ON alice.t FOR EACH ROW
	EXECUTE FUNCTION mixpeek.mirror_row('x', 'document_id_column=v')"),
	qr/^must be owner of table t/, "a role with TRIGGER only cannot create a mirror's trigger");
like(refusal('mallory', "SELECT mixpeek.mirror('alice.t', 'x')"), qr/^must be owner of table t/,
	'a role with TRIGGER only cannot call mirror()');

# Row-level security

sql(q{
	CREATE TABLE alice.policed (id int PRIMARY KEY, hidden bool);
	ALTER TABLE alice.policed ENABLE ROW LEVEL SECURITY;
	CREATE POLICY shown ON alice.policed FOR SELECT USING (NOT hidden);
	CREATE POLICY written ON alice.policed FOR ALL TO writer USING (true);
	CREATE POLICY changed ON alice.policed FOR UPDATE USING (true);
	SELECT mixpeek.mirror('alice.policed', 'policed');
	GRANT SELECT, INSERT, UPDATE ON alice.policed TO writer}, 'alice');
sql('INSERT INTO alice.policed VALUES (1, false), (2, true)', 'writer');
wait_for_state('alice.policed', $_, 'mirrored') for 1, 2;
is(scalar(@{ $api->documents('policed') }), 2, 'policies that do not bind the owner hide no row');
sql('ALTER TABLE alice.policed FORCE ROW LEVEL SECURITY', 'alice');
sql("INSERT INTO alice.policed VALUES (3, true), (4, false)", 'writer');
wait_for_state('alice.policed', 4, 'mirrored');
wait_for('the hidden one to go', sub {
	sql("SELECT string_agg(key, ',' ORDER BY key) FROM mixpeek.documents WHERE relation = 'alice.policed'::regclass") eq '1,4';
});
pass('forced row-level security hides rows');
sql('UPDATE alice.policed SET hidden = NOT hidden', 'writer');
wait_for('the hidden ones to go', sub {
	sql("SELECT string_agg(key, ',' ORDER BY key) FROM mixpeek.documents WHERE relation = 'alice.policed'::regclass
		AND state = 'mirrored'") eq '2,3';
});
is(join(',', sort map { $_->{metadata}{id} } @{ $api->documents('policed') }), '2,3',
	'forced row-level security: documents follow what it hides');

# A malicious owner, whose functions try many ways to get a right when the worker runs them

my $root = sql('SELECT current_user');
sql(q{
	GRANT CREATE ON SCHEMA public TO mallory;
	CREATE TABLE alice.secret (v text);
	SET SESSION AUTHORIZATION mallory;
	CREATE TABLE mallory.attacks (place text, what text, outcome text, who text);
	CREATE TABLE mallory.trapped (who text);
	CREATE TABLE mallory.deferred (i int);
	GRANT USAGE ON SCHEMA mallory TO PUBLIC;
	GRANT ALL ON ALL TABLES IN SCHEMA mallory TO PUBLIC;
	-- who steps into one of these has a name looked up where she may write
	CREATE FUNCTION mallory.trap() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO mallory.trapped VALUES (current_user);
		EXECUTE 'ALTER ROLE mallory SUPERUSER';
	EXCEPTION WHEN OTHERS THEN NULL;
	END $$;
	DO $$
	DECLARE
		place text; type text;
	BEGIN
		FOREACH place IN ARRAY ARRAY['mallory', 'public'] LOOP
			FOREACH type IN ARRAY ARRAY['text', 'oid', 'name', 'timestamptz', 'tid', '"char"', 'bytea', 'int4',
				'uuid'] LOOP
				EXECUTE format('CREATE FUNCTION %I.same(%s, %s) RETURNS bool LANGUAGE plpgsql AS
					''BEGIN PERFORM mallory.trap();
					RETURN $1::pg_catalog.text OPERATOR(pg_catalog.=) $2::pg_catalog.text; END''', place, type, type);
				EXECUTE format('CREATE OPERATOR %I.= (FUNCTION = %I.same, LEFTARG = %s, RIGHTARG = %s)', place, place,
					type, type);
				EXECUTE format('CREATE FUNCTION %I.unnest(%s[]) RETURNS SETOF %s LANGUAGE plpgsql AS
					''BEGIN PERFORM mallory.trap(); RETURN QUERY SELECT pg_catalog.unnest($1); END''', place, type,
					type);
			END LOOP;
			EXECUTE format('CREATE FUNCTION %I.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS
				''BEGIN PERFORM mallory.trap(); RETURN pg_catalog.clock_timestamp(); END''', place);
			EXECUTE format('CREATE FUNCTION %I.now() RETURNS timestamptz LANGUAGE plpgsql AS
				''BEGIN PERFORM mallory.trap(); RETURN pg_catalog.now(); END''', place);
		END LOOP;
	END $$;
	CREATE FUNCTION mallory.set_trap() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM mallory.trap();
		RETURN NULL; END$$;
	CREATE CONSTRAINT TRIGGER later AFTER INSERT ON mallory.deferred DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION mallory.set_trap();
	CREATE FUNCTION mallory.attack(place text) RETURNS boolean LANGUAGE plpgsql AS $$
	DECLARE
		statement text; outcome text;
	BEGIN
		IF pg_catalog.current_setting('application_name') <> '' THEN RETURN true; END IF;	-- a client's session
		FOREACH statement IN ARRAY ARRAY[
			'SET ROLE ROOT', 'RESET ROLE', 'SET SESSION AUTHORIZATION ROOT', 'RESET SESSION AUTHORIZATION',
			'ALTER ROLE mallory SUPERUSER', 'CREATE ROLE evil SUPERUSER', 'GRANT ROOT TO mallory',
			'SELECT umoptions FROM pg_catalog.pg_user_mapping',
			'SELECT usename FROM pg_catalog.pg_user_mappings WHERE usename <> ''mallory'' AND umoptions IS NOT NULL',
			'SELECT v FROM alice.secret', 'SELECT v FROM alice.t',
			'SELECT key FROM mixpeek.documents WHERE relation = ''alice.t''::pg_catalog.regclass',
				'SELECT relation FROM mixpeek.clusters WHERE relation = ''alice.t''::pg_catalog.regclass',
			'DELETE FROM mixpeek.outbox', 'UPDATE mixpeek.documents SET document_id = ''x''',
				'UPDATE mixpeek.origin SET id = id',
			'LISTEN x', 'CREATE TEMP TABLE x ()', 'PREPARE x AS SELECT 1', 'DECLARE x CURSOR WITH HOLD FOR SELECT 1',
				'DISCARD ALL',
			'COPY alice.secret TO ''/tmp/x''', 'COPY mallory.attacks FROM PROGRAM ''id''', 'LOAD ''mixpeek_docs''',
			'SELECT pg_catalog.pg_read_file(''postgresql.conf'')', 'SELECT pg_catalog.lo_export(1, ''/tmp/x'')',
			'SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid())',
				'SELECT pg_catalog.pg_cancel_backend(pg_catalog.pg_backend_pid())',
			'INSERT INTO mallory.deferred VALUES (1)', 'COMMIT', 'CALL mixpeek.sync()', 'SELECT mixpeek.adopt()',
			'SET mixpeek.allow_http = on', 'SET mixpeek.enabled = off', 'SET session_replication_role = replica',
				'SET log_statement = ''all'''] LOOP
			BEGIN
				IF statement ~ '^SELECT' THEN
					EXECUTE replace(statement, 'ROOT', pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(10))) INTO
					outcome;
				ELSE
					EXECUTE replace(statement, 'ROOT', pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(10)));
					outcome := NULL;
				END IF;
				outcome := CASE WHEN outcome IS NULL AND statement ~ '^SELECT' THEN 'nothing' ELSE 'done' END;
			EXCEPTION WHEN OTHERS THEN
				outcome := sqlerrm;
			END;
			INSERT INTO mallory.attacks VALUES (place, statement, outcome, current_user);
		END LOOP;
		-- allowed, and of no avail after the function
		PERFORM pg_catalog.set_config('search_path', 'mallory, public, pg_catalog', false),
			pg_catalog.set_config('default_transaction_read_only', 'on', false),
			pg_catalog.set_config('default_transaction_isolation', 'serializable', false),
			pg_catalog.set_config('synchronous_commit', 'off', false),
			pg_catalog.set_config('lock_timeout', '1', false),
			pg_catalog.set_config('DateStyle', 'German', false);
		RETURN true;
	END $$;
	-- for places that want an immutable function
	CREATE FUNCTION mallory.sneak(place text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN PERFORM mallory.attack(place); RETURN place; END $$;
	CREATE FUNCTION mallory.attack_row() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN PERFORM mallory.attack(tg_argv[0]); RETURN new; END $$;

	CREATE TYPE mallory.mood AS ENUM ('bad');
	CREATE FUNCTION mallory.mood_json(mallory.mood) RETURNS json LANGUAGE plpgsql AS $$
	BEGIN PERFORM mallory.attack('cast'); RETURN '"bad"'; END $$;
	CREATE CAST (mallory.mood AS json) WITH FUNCTION mallory.mood_json(mallory.mood);
	CREATE DOMAIN mallory.id AS int CHECK (mallory.attack('domain'));
	CREATE TABLE mallory.t (id mallory.id PRIMARY KEY, mood mallory.mood DEFAULT 'bad', v text, doc_id text,
		enrichments jsonb,
		g text GENERATED ALWAYS AS (mallory.sneak('generated' || left(v, 0))) STORED,
		CHECK (mallory.attack('check')));
	CREATE INDEX ON mallory.t (mallory.sneak('index' || left(v, 0)));
	CREATE TRIGGER before BEFORE UPDATE ON mallory.t FOR EACH ROW EXECUTE FUNCTION mallory.attack_row('before');
	CREATE TRIGGER after AFTER UPDATE ON mallory.t FOR EACH ROW EXECUTE FUNCTION mallory.attack_row('after');
	ALTER TABLE mallory.t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
	CREATE POLICY p ON mallory.t USING (mallory.attack('policy'));
	SELECT mixpeek.mirror('mallory.t', 'mallory', document_id_column => 'doc_id', enrichments_column => 'enrichments');
	INSERT INTO mallory.t VALUES (1, 'bad', 'x')});
# The test's own statements must not find the traps.
local $ENV{PGOPTIONS} = '-c search_path=pg_catalog';
sql('ALTER DATABASE postgres SET search_path = mallory, public, pg_catalog');
like(wait_for_state('mallory.t', 1, 'mirrored'), qr/^mirrored 0$/, "a row whose owner's functions attack is mirrored");
sql('INSERT INTO mallory.t SELECT n, \'bad\', \'x\' FROM generate_series(2, 20) n', 'mallory');
sql("INSERT INTO alice.t VALUES (1000, 'beside')");
wait_for_state('alice.t', 1000, 'mirrored');
wait_for_state('mallory.t', $_, 'mirrored') for 2 .. 20;
sql("UPDATE mallory.t SET v = 'y'", 'mallory');
wait_for('the change', sub { sql("SELECT count(*) FROM mallory.t WHERE v = 'y'") == 20
	&& sql("SELECT count(*) FROM mixpeek.outbox") == 0
		&& sql("SELECT count(*) FROM mixpeek.documents WHERE state <> 'mirrored'") == 0 });

is(sql("SELECT string_agg(DISTINCT place, ' ' ORDER BY place) FROM mallory.attacks"),
	'after before cast check generated index policy',
	"all functions of an owner who attacks are run, but the check of the key's domain, which nothing needs");
is(sql('SELECT string_agg(DISTINCT who, \' \') FROM mallory.attacks'), 'mallory',
	'all functions of an owner who attacks run as she');
# A deferred trigger is run at once, restricted as the other functions.
is(sql("SELECT DISTINCT place, what FROM mallory.attacks WHERE outcome = 'done'
	AND what !~ '^INSERT INTO mallory.deferred'"), '', "no attack by an owner's function succeeds");
is(sql("SELECT count(*) FROM mallory.trapped"), 0, "no name is looked up in an attacker's schemas");
is(sql("SELECT rolsuper OR EXISTS (SELECT FROM pg_roles WHERE rolname = 'evil') FROM pg_roles
	WHERE rolname = 'mallory'"), 'f', 'an owner who attacks has no new right');
is($worker->(), $pid, 'functions that attack: the worker is not replaced');
is(keys_used(), 'alice mallory', "functions that attack: each owner's own key is used");

# Errors that look like the end of the process, and texts without end, harm only the owner's own rows

sql(q{
	CREATE FUNCTION mallory.harm(text) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		IF pg_catalog.current_setting('application_name') <> '' THEN RETURN true; END IF;	-- a client's session
		CASE $1
			WHEN 'endless' THEN RAISE EXCEPTION '%', repeat('x', 10000000);
			WHEN 'read only' THEN SET transaction_read_only = on;
			WHEN 'policies' THEN SET row_security = off;
			WHEN 'stack' THEN PERFORM mallory.harm($1);
			ELSE RAISE EXCEPTION USING errcode = $1;
		END CASE;
		RETURN true;
	END $$;
	CREATE TYPE mallory.harm AS ENUM ('57014', '57P01', '57P02', '57P03', 'XX000', '53200', '40001', '55P03',
		'endless', 'read only', 'policies', 'stack');
	CREATE FUNCTION mallory.harm_json(mallory.harm) RETURNS json LANGUAGE plpgsql AS $$
	BEGIN PERFORM mallory.harm($1::pg_catalog.text); RETURN '"harm"'; END $$;
	CREATE CAST (mallory.harm AS json) WITH FUNCTION mallory.harm_json(mallory.harm);
	CREATE TABLE mallory.harmful (id text PRIMARY KEY, harm mallory.harm);
	SELECT mixpeek.mirror('mallory.harmful', 'harmful', backfill => false);
	INSERT INTO mallory.harmful SELECT h::text, h FROM unnest(enum_range(NULL::mallory.harm)) h;
	INSERT INTO mallory.harmful VALUES ('good')} =~ s/h::text/h::pg_catalog.text/r, 'mallory');
sql("INSERT INTO alice.t VALUES (1001, 'beside')");
wait_for_state('alice.t', 1001, 'mirrored');
wait_for_state('mallory.harmful', 'good', 'mirrored');
like(wait_for_state('mallory.harmful', $_, 'failed'), qr/^failed 1 \S/,
	"a function that raises $_: its row fails by itself")
	for qw(57014 57P01 57P02 57P03 XX000 53200 40001 55P03 endless stack);
wait_for_state('mallory.harmful', $_, 'mirrored') for 'read only', 'policies';
cmp_ok(length(wait_for_state('mallory.harmful', 'endless', 'failed')), '<', 2100,
	'a function that raises an endless error: last_error is cut');
is($worker->(), $pid, 'functions that raise errors: the worker is not replaced');

# Functions that do not end

$node->append_conf('postgresql.conf', 'mixpeek.read_timeout = 500ms');
$node->reload;
sql(q{
	CREATE FUNCTION mallory.sleep() RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		IF pg_catalog.current_setting('application_name') = '' THEN PERFORM pg_catalog.pg_sleep(1000000); END IF;
		RETURN true;
	END $$;
	CREATE FUNCTION mallory.loop(mallory.mood) RETURNS json LANGUAGE plpgsql AS $$
	BEGIN
		WHILE pg_catalog.current_setting('application_name') = '' LOOP END LOOP;
		RETURN '1';
	END $$;
	CREATE TYPE mallory.slow AS ENUM ('slow');
	CREATE FUNCTION mallory.slow_json(mallory.slow) RETURNS json LANGUAGE sql AS $$SELECT mallory.loop('bad')$$;
	CREATE CAST (mallory.slow AS json) WITH FUNCTION mallory.slow_json(mallory.slow);
	CREATE FUNCTION mallory.sleep_row() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN PERFORM mallory.sleep(); RETURN new; END $$;
	CREATE TABLE mallory.looping (id int PRIMARY KEY, s mallory.slow);
	CREATE TABLE mallory.sleeping (id int PRIMARY KEY, doc_id text);
	CREATE TRIGGER t BEFORE UPDATE ON mallory.sleeping FOR EACH ROW EXECUTE FUNCTION mallory.sleep_row();
	SELECT mixpeek.mirror('mallory.looping', 'looping', backfill => false);
	SELECT mixpeek.mirror('mallory.sleeping', 'sleeping', backfill => false, document_id_column => 'doc_id');
	INSERT INTO mallory.looping SELECT n, CASE WHEN n <= 20 THEN 'slow'::mallory.slow END FROM generate_series(1, 21) n;
	INSERT INTO mallory.sleeping SELECT n FROM generate_series(1, 20) n}, 'mallory');
sql("INSERT INTO alice.t VALUES (1010, 'beside')");
wait_for_state('alice.t', 1010, 'mirrored');
pass('functions that do not end keep no other table waiting');
like(wait_for_state('mallory.looping', 1, 'failed'),
	qr/^failed 1 it took longer than mixpeek.read_timeout \(500 ms\)$/,
	'functions that do not end: the row fails, with the reason');
like(wait_for_state('mallory.looping', 20, 'pending'), qr/^pending 0 other rows of the table took too long to read$/,
	'functions that do not end: further rows of the table are pending, with the reason');
wait_for_state('mallory.sleeping', $_, 'mirrored') for 1 .. 20;
like(sql("SELECT min(last_error) FROM mixpeek.documents WHERE relation = 'mallory.sleeping'::regclass"),
	qr/^could not write to the table's columns: (it took longer|the owner's functions took too long) /,
	'functions that do not end: the write-back is given up, with the reason');
is($worker->(), $pid, 'functions that do not end: the worker is not replaced');
sql("DROP TABLE mallory.looping, mallory.sleeping");

# A change of the owner

sql('GRANT CREATE, USAGE ON SCHEMA alice TO bob; GRANT USAGE ON FOREIGN SERVER mixpeek TO bob');
keys_used();
sql('ALTER TABLE alice.t OWNER TO bob');
sql("UPDATE alice.t SET v = 'bobs' WHERE id = 1000");
wait_for('the change', sub { grep { $_->{metadata}{v} && $_->{metadata}{v} eq 'bobs' } @{ $api->documents('alice') } });
is(keys_used(), 'bob', "ALTER TABLE ... OWNER TO: the new owner's key is used");
is(sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'alice.t'::regclass AND state <> 'mirrored'"), 0,
	'ALTER TABLE ... OWNER TO: all records stay mirrored');
sql('REASSIGN OWNED BY bob TO mallory; DROP OWNED BY bob CASCADE');
sql("INSERT INTO alice.t VALUES (1002)");
wait_for_state('alice.t', 1002, 'mirrored');
is(keys_used(), 'mallory', "REASSIGN OWNED: the new owner's key is used");
sql("INSERT INTO alice.t VALUES (1003); DROP OWNED BY mallory CASCADE; DROP OWNED BY alice CASCADE");
wait_for('nothing to be left', sub {
	sql('SELECT count(*) FROM mixpeek.documents') + sql('SELECT count(*) FROM mixpeek.outbox') == 0;
});
pass('DROP OWNED leaves no record and no entry');
is($worker->(), $pid, 'changes of owners: the worker is not replaced');

done_testing();
